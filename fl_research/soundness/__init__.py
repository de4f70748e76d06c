"""What a run must not be: the refusal of settings that make no sense together, and why.

All of it happens before any data are read, except for what only the data can tell, and nothing here
imports TensorFlow.
"""
