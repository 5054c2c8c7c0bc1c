"""Live speech to text: sessions that take audio as it arrives and emit events."""
