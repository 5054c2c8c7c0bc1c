"""One runtime a file; each is imported only in its own virtual environment."""
