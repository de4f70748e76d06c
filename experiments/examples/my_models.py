"""Models of one's own, for `--model=experiments/examples/my_models.py:<function>`.

A function takes a `fl_research.models.ModelSpec`, what an example's input and label are, and
returns a `tf.keras.Model`, which need not be compiled.
"""

import tensorflow as tf

layers = tf.keras.layers


def cnn(spec):
  """A small convolutional network for images: [height, width, channels] to a class.

  python -m experiments.train --task=mnist --model=experiments/examples/my_models.py:cnn
  """
  return tf.keras.Sequential([
    tf.keras.Input(spec.input_shape),
    layers.Conv2D(16, 5, activation='relu'),
    layers.MaxPool2D(),
    layers.Conv2D(32, 3, activation='relu'),
    layers.MaxPool2D(),
    layers.Flatten(),
    layers.Dropout(0.25),
    layers.Dense(spec.output_units, activation='softmax'),
  ])  # fmt: skip


def lstm(spec):
  """A recurrent network for signals: [time, channels] to a class.

  python -m experiments.train --task=uci_har --model=experiments/examples/my_models.py:lstm
  """
  return tf.keras.Sequential([
    tf.keras.Input(spec.input_shape),
    layers.Conv1D(32, 8, strides=4, activation='relu'),
    layers.LSTM(32),
    layers.Dense(spec.output_units),
  ])  # fmt: skip


def recommender(spec):
  """Two inputs, named like two columns of ids: who rates, and what. One number comes out.

  python -m experiments.train --task=movielens --model=experiments/examples/my_models.py:recommender
  """
  who, what = (column for column in spec.inputs if column.vocabulary)
  inputs, vectors, biases = [], [], []
  for column in (who, what):
    ids = tf.keras.Input((), dtype='int32', name=column.name)
    inputs.append(ids)
    vectors.append(layers.Embedding(column.vocabulary, 8)(ids))
    biases.append(layers.Embedding(column.vocabulary, 1)(ids))
  match = layers.Dense(1)(layers.Multiply()(vectors))
  return tf.keras.Model(inputs, layers.Add()([match, *biases]))
