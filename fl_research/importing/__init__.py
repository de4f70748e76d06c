"""A user's own files: what was found in them, and one form for all of them."""
