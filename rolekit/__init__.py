"""rolekit: a character that lives on your own laptop."""

__version__ = "0.1.0"
