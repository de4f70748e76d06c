"""Sweeps: many runs that differ in a few settings, and the choice of the best of them."""
