"""Log files in, attempts out."""
