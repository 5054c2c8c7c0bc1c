"""When each word was said: by what a Whisper decoder looks at, or by the frames in which a CTC model writes."""
