"""Texts in, numbers out: WER, CER, alignment, intervals, significance."""
