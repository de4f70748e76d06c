"""The factors of `schedules`, as TensorFlow functions of the round t, float32 []."""

import math

import tensorflow as tf


def constant(t, decay: float, decay_rounds: int):
  del t, decay, decay_rounds
  return tf.constant(1.0)


def exponential(t, decay: float, decay_rounds: int):
  return tf.pow(decay, t / decay_rounds)


def linear_warmup(t, decay: float, decay_rounds: int):
  del decay
  return tf.minimum(1.0, (t + 1.0) / decay_rounds)


def cosine(t, decay: float, decay_rounds: int):
  del decay
  return 0.5 * (1.0 + tf.cos(math.pi * tf.minimum(t, float(decay_rounds)) / decay_rounds))
