"""Texts: normalizers, scripts and words, language codes and lists."""
