"""The embedded model `en`: Whisper tiny.en in few bits. `python -m recipes.english.build` makes it."""
