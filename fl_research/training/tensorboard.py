"""Scalars for TensorBoard."""

from collections.abc import Mapping
import pathlib
from typing import Any

import tensorflow as tf


class Writer:
  """Writes the numbers of each row of metrics.csv as scalars, the round being the step.

  Args:
    logdir: the folder TensorBoard is pointed at.
  """

  def __init__(self, logdir: pathlib.Path):
    self._writer = tf.summary.create_file_writer(str(logdir))

  def write(self, row: Mapping[str, Any]) -> None:
    """Writes a row; texts and undefined values are left out."""
    with self._writer.as_default(step=row['round']):
      for name, value in row.items():
        if name != 'round' and isinstance(value, (int, float)) and value == value:
          tf.summary.scalar(name, value)

  def close(self) -> None:
    self._writer.close()
