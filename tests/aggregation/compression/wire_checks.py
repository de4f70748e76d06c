"""What the tests of compressors share: chains from text, and the draws that the oracles need."""

import functools
import zlib

import numpy as np
import tensorflow as tf

from fl_research.aggregation import compression
from fl_research.aggregation.compression import chain


def build(text):
  """The compressor of a chain."""
  return compression.build(chain.parse(text, {}))


@functools.cache
def _encoder(text):
  compressor = build(text)
  memory = compressor.initial_client_state
  encode = lambda update, seed: compressor.encode(update, seed, memory(update)).message
  plain = functools.partial(tf.function, autograph=False)
  return compressor, plain(encode), plain(compressor.decode)


def encode(text, update, seed):
  """The message of one update, a tuple of float32 arrays: uint8 [?]."""
  update = tuple(tf.constant(u, tf.float32) for u in update)
  return np.asarray(_encoder(text)[1](update, tf.constant(seed, tf.int32)))


def decode(text, message, shapes):
  """The update that a message stands for, knowing nothing but the shapes."""
  shapes = tuple(tuple(shape) for shape in shapes)
  return [np.asarray(t) for t in _encoder(text)[2](tf.constant(message), shapes)]


def send(text, update, seed):
  """An update after its way over the wire."""
  return decode(text, encode(text, update, seed), [np.shape(u) for u in update])


def draws(seed, position, stage, kind, count):
  """The random numbers that one stage draws for one tensor of the update with this seed."""
  fold_in = tf.random.experimental.stateless_fold_in
  own = fold_in(tf.constant(seed, tf.int32), zlib.crc32(b'compressor') >> 1)
  own = fold_in(fold_in(own, position), stage)
  if kind == 'int32':
    drawn = tf.random.stateless_uniform([count], own, None, None, tf.int32)
  elif kind == 'uniform':
    drawn = tf.random.stateless_uniform([count], own)
  else:
    drawn = tf.random.stateless_normal([count], own)
  return np.asarray(drawn)
