"""Word times: from the cross-attention of a Whisper decoder, or from the frames of a CTC model's tokens."""
