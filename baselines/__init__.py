"""Published results, and what was measured here beside them."""
