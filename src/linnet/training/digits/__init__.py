"""The data of the embedded model: digits, composed on the fly."""
