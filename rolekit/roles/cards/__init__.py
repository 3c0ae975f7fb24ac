"""Character cards of other programs: read without losing a key, written back, and shown before they are trusted."""
