"""A run's final model as a TensorFlow SavedModel that takes raw columns, for TF Serving and TFLite.

    serving_default: {column: T[n], …} -> {predicted, probabilities} or {predicted}

The columns are those of `fl_research.importing.preprocessing`, by name: a number, also a date that
is one, is float64, NaN where missing (of numbers that were written with thousands or units the
number alone, of times the seconds); all others are text, '' where missing. A run on arrays takes
x [n, …] instead. `predicted` is the class' name, or the number in its own unit; of tags there are
only `probabilities`; of text, whose x are numbers of tokens, it is the number of the next one, at
each place. It is made of TensorFlow's operations alone and needs nothing of ours; TFLite needs its
select operations for it.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import pathlib
import re
from typing import Any

import numpy as np
import tensorflow as tf

from fl_research.datasets.federated_data import Problem
from fl_research.importing import encoders, values
from fl_research.importing.preprocessing import Preprocessing
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError
from fl_research.training import by_class, stored_data

_MONTHS = ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec')
_SECONDS = {'H': 3600.0, 'M': 60.0, 'S': 1.0}
_YEAR = 365.2425


def save(
  folder: pathlib.Path, model: Any, weights: Sequence[np.ndarray], stored: stored_data.StoredData
) -> dict[str, str]:
  """Writes the SavedModel; gives the columns that it takes, by name, with their types.

  Args:
    folder: where to; must not be there.
    model: the run's `Model`.
    weights: its final weights.
    stored: what the run has kept of its data.

  Raises:
    UsageError: a column cannot be read in TensorFlow alone; one line.
  """
  served = tf.Module()
  served.weights = [tf.Variable(weight, trainable=False) for weight in weights]
  signature, to_x, served.tables = _inputs(stored)

  def answer(**columns: tf.Tensor) -> dict[str, tf.Tensor]:
    frozen = tuple(tf.convert_to_tensor(weight) for weight in served.weights)
    outputs = model.predict_on_batch((frozen, ()), to_x(columns), training=False)
    return _answers(stored.spec, stored.class_names, outputs)

  served.answer = tf.function(answer, autograph=False)
  concrete = served.answer.get_concrete_function(**signature)
  tf.saved_model.save(served, str(folder), signatures={'serving_default': concrete})
  return {name: spec.dtype.name for name, spec in signature.items()}


Columns = Mapping[str, tf.Tensor]


def _inputs(
  stored: stored_data.StoredData,
) -> tuple[dict[str, tf.TensorSpec], Callable[[Columns], tf.Tensor], list[Any]]:
  """What the signature takes, what makes x of it, and the tables that this looks ids up in."""
  spec = stored.spec
  if stored.preprocessing.get('form') != 'table':
    divisor = stored.preprocessing.get('divided_by', 1)
    whole = tf.TensorSpec([None, *spec.input_shape], spec.x_dtype, name='x')
    if divisor == 1:
      return {'x': whole}, lambda columns: columns['x'], []
    return {'x': whole}, lambda columns: columns['x'] / tf.constant(divisor, spec.x_dtype), []
  how = Preprocessing.from_data(stored.preprocessing)
  signature = {c.name: tf.TensorSpec([None], _type_of(c), name=c.name) for c in how.columns}

  tables = {c.name: _table(c) for c in how.columns if isinstance(c, encoders.Identifier)}
  encode = {
    c.name: functools.partial(_identifier, tables[c.name])
    if c.name in tables
    else functools.partial(_ENCODE[type(c)], c)
    for c in how.columns
  }

  def to_x(columns: Columns) -> tf.Tensor:
    return tf.concat([encode[c.name](columns[c.name]) for c in how.columns], axis=1)

  return signature, to_x, list(tables.values())


def _type_of(column: encoders.Encoder) -> tf.DType:
  if isinstance(column, encoders.Names) and not column.separator:
    raise UsageError(
      f'column {column.name}: holds lists that no separator divides, which a SavedModel cannot take'
    )
  written = getattr(column, 'form', '')
  of_people = isinstance(column, encoders.Number) and written
  numeric = column.kind == 'number' or of_people or written in (*values.SECONDS_OF, values.COMPACT)
  return tf.float64 if numeric else tf.string


def _number(column: encoders.Number, cells: tf.Tensor) -> tf.Tensor:
  if cells.dtype == tf.string:
    cells = tf.strings.to_number(tf.where(cells == '', 'nan', cells), tf.float64)
  return _scaled(column, cells)[:, tf.newaxis]


def _scaled(column: Any, numbers: tf.Tensor) -> tf.Tensor:
  """In units of the deviation, 0 where missing."""
  scaled = tf.cast((numbers - column.mean) / column.deviation, tf.float32)
  return tf.where(tf.math.is_nan(scaled), tf.zeros_like(scaled), scaled)


def _date(column: encoders.Date, cells: tf.Tensor) -> tf.Tensor:
  days = _days(column.form, cells)
  angle = 2 * np.pi * days / _YEAR
  year = tf.cast(tf.stack([tf.sin(angle), tf.cos(angle)], axis=1), tf.float32)
  year = tf.where(tf.math.is_nan(year), tf.zeros_like(year), year)
  return tf.concat([_scaled(column, days)[:, tf.newaxis], year], axis=1)


def _days(form: str, cells: tf.Tensor) -> tf.Tensor:
  """Days since the beginning of 1970, float64, NaN where missing."""
  if form == values.COMPACT:
    days = _since_1970(cells // 10_000, cells // 100 % 100, cells % 100)
    return tf.where(tf.math.is_nan(cells), cells, days)
  if form in values.SECONDS_OF:
    return cells * values.SECONDS_OF[form] / 86_400
  order, pattern = _pattern(form)
  text = tf.strings.regex_replace(cells, pattern, ' '.join(f'\\{n + 1}' for n in range(len(order))))
  for number, month in enumerate(_MONTHS if 'm' not in order else (), 1):
    text = tf.strings.regex_replace(text, f'(?i){month}[a-z]*', str(number))
  for half, hours in (('Aa', '0'), ('Pp', '12')) if 'p' in order else ():
    text = tf.strings.regex_replace(text, f'[{half}]$', hours)
  parts = tf.strings.split(text).to_tensor('0', shape=[None, len(order)])
  part = dict(zip(order, tf.unstack(tf.strings.to_number(parts, tf.float64), axis=1)))
  if 'y' in part:
    part['Y'] = part['y'] + 1900 + 100 * tf.cast(part['y'] < 69, tf.float64)
  if 'p' in part:
    part['H'] = part['I'] % 12 + part['p']
  month = next(part[key] for key in 'mbB' if key in part)
  days = _since_1970(part['Y'], month, part['d'])
  days += sum(part[key] * _SECONDS[key] for key in _SECONDS if key in part) / 86_400
  return tf.where(cells == '', tf.constant(np.nan, tf.float64), days)


def _pattern(form: str) -> tuple[list[str], str]:
  """The parts of a date in the order in which it is written, and an expression with each as group.

  What follows them, as a time zone, is not read.
  """
  if form == 'ISO8601':
    time = r'(?:[T ](\d{1,2}):(\d{1,2})(?::(\d{1,2}(?:\.\d+)?))?)?'
    return list('YmdHMS'), rf'^\s*(\d{{4}})-(\d{{1,2}})-(\d{{1,2}}){time}.*$'
  group = {key: r'(\d+)' for key in 'YymdHIM'} | {'S': r'(\d+(?:\.\d+)?)', 'p': '([AaPp])[Mm]'}
  group |= dict.fromkeys('bB', '([A-Za-z]+)')
  order = re.findall('%([a-zA-Z])', form)
  literal = re.split('%[a-zA-Z]', form)
  body = ''.join(re.escape(text) + group[key] for text, key in zip(literal, order))
  return order, rf'^\s*{body}.*$'


def _since_1970(year: tf.Tensor, month: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
  """Days from 1970-01-01 to a day of the Gregorian calendar; years are counted from March on."""
  year = tf.where(month <= 2, year - 1, year)
  day_of_year = tf.floor((153 * tf.math.floormod(month + 9, 12) + 2) / 5) + day - 1
  leap_days = tf.floor(year / 4) - tf.floor(year / 100) + tf.floor(year / 400)
  return 365 * year + leap_days + day_of_year - 719_468


def _text(cells: tf.Tensor) -> tf.Tensor:
  """Texts without spaces around them, and with one in the place of several."""
  return tf.strings.strip(tf.strings.regex_replace(cells, r'\s+', ' '))


def _category(column: encoders.Category, cells: tf.Tensor) -> tf.Tensor:
  names: Any = column.categories
  usual: Any = column.usual
  if cells.dtype == tf.string:
    cells = _text(cells)
    cells = tf.where(cells == '', usual, cells)
  else:
    names, usual = np.array([float(name) for name in names]), float(usual or 'nan')
    cells = tf.where(tf.math.is_nan(cells), tf.constant(usual, cells.dtype), cells)
  return tf.cast(cells[:, tf.newaxis] == tf.constant(names, cells.dtype), tf.float32)


def _names(column: encoders.Names, cells: tf.Tensor) -> tf.Tensor:
  wrapped = tf.strings.split(cells, column.separator)
  own = _text(wrapped.to_tensor(''))
  same = own[:, :, tf.newaxis] == tf.constant(column.categories, tf.string)
  return tf.cast(tf.reduce_any(same, axis=1), tf.float32)


def _table(column: encoders.Identifier) -> tf.lookup.StaticHashTable:
  """The number of each id, 0 for one unseen."""
  numbers = tf.range(1, len(column.ids) + 1, dtype=tf.int64)
  keys = tf.lookup.KeyValueTensorInitializer(tf.constant(column.ids, tf.string), numbers)
  return tf.lookup.StaticHashTable(keys, 0)


def _identifier(table: tf.lookup.StaticHashTable, cells: tf.Tensor) -> tf.Tensor:
  if cells.dtype == tf.string:
    cells = _text(cells)
  else:  # A number is found by what it looks like.
    whole = tf.strings.as_string(tf.cast(cells, tf.int64))
    cells = tf.where(cells == tf.floor(cells), whole, tf.strings.as_string(cells, shortest=True))
  return tf.cast(table.lookup(cells), tf.float32)[:, tf.newaxis]


_ENCODE: dict[type, Callable[[Any, tf.Tensor], tf.Tensor]] = {
  encoders.Number: _number,
  encoders.Date: _date,
  encoders.Category: _category,
  encoders.Names: _names,
}


def _answers(
  spec: ModelSpec, class_names: Sequence[str], outputs: tf.Tensor
) -> dict[str, tf.Tensor]:
  """The outputs as probabilities and names, or as they are."""
  if spec.problem is Problem.NEXT_TOKEN:
    shares = tf.nn.softmax(tf.reshape(outputs, [-1, *spec.label_shape, spec.num_classes]))
    return {'predicted': tf.argmax(shares, axis=-1), 'probabilities': shares}
  if spec.problem is Problem.MULTILABEL:
    return {'probabilities': tf.sigmoid(outputs)}
  if spec.problem is Problem.CLASSIFICATION:
    shares = tf.nn.softmax(outputs)
  elif spec.problem is Problem.BINARY:
    positive = tf.sigmoid(outputs)
    shares = tf.concat([1 - positive, positive], axis=1)
  else:
    return {'predicted': tf.squeeze(outputs, -1) if outputs.shape[-1] == 1 else outputs}
  names = by_class.names_of(class_names, shares.shape[1])
  chosen = tf.gather(tf.constant(names), tf.argmax(shares, axis=1))
  return {'predicted': chosen, 'probabilities': shares}
