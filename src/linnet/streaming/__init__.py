"""Live speech to text: sessions that take audio as it comes and give events."""
