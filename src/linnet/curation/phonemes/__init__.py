"""Phones of texts in any language: by a user's lexicon, epitran, espeak-ng, uroman, or graphemes."""
