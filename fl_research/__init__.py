"""Federated-learning research on TensorFlow Federated."""

from fl_research import environment  # noqa: F401  sets what must be set before TensorFlow starts
