"""Scalars for TensorBoard."""

from collections.abc import Callable, Iterator
import contextlib
import errno
import pathlib
from typing import Any

import tensorflow as tf

from fl_research.training.observer import Observer

_SCALAR = tf.compat.v1.SummaryMetadata(
  plugin_data={'plugin_name': 'scalars'}, data_class='DATA_CLASS_SCALAR'
)
_FLOAT = {'dtype': tf.float32.as_datatype_enum, 'tensor_shape': {}}


class Writer(Observer):
  """Writes the numbers of each row of metrics.csv as scalars, the round being the step.

  What earlier sessions of the run wrote about later rounds is removed, as it is from metrics.csv.

  Args:
    logdir: the folder TensorBoard is pointed at.
    last_round: the last round that stays; -1 for none.
  """

  def __init__(self, logdir: pathlib.Path, last_round: int):
    self._logdir = logdir
    with self._disk_errors():
      for path in sorted(logdir.glob('events.out.tfevents.*')):
        _cut(path, lambda event: event.HasField('file_version') or event.step <= last_round)
      self._writer = tf.summary.create_file_writer(str(logdir))

  def row(self, row: dict[str, Any]) -> None:
    """Writes a row; texts and undefined values are left out."""
    scalars = [
      tf.compat.v1.Summary.Value(tag=name, tensor=_FLOAT | {'float_val': [value]}, metadata=_SCALAR)
      for name, value in row.items()
      if name != 'round' and isinstance(value, (int, float)) and value == value
    ]
    summary = tf.compat.v1.Summary(value=scalars).SerializeToString()
    with self._disk_errors(), self._writer.as_default():
      # One event: thirty of `tf.summary.scalar` take twenty times as long.
      tf.summary.experimental.write_raw_pb(summary, step=row['round'])

  def checkpoint(self, progress: Any) -> None:
    """Brings what was written to the disk.

    Raises:
      OSError: it cannot be written.
    """
    with self._disk_errors():
      self._writer.flush()

  def close(self) -> None:
    """Flushes and ends the file; raises as `checkpoint` does."""
    with self._disk_errors():
      self._writer.close()

  @contextlib.contextmanager
  def _disk_errors(self) -> Iterator[None]:
    """Turns TensorFlow's errors of a file that cannot be written into `OSError`."""
    try:
      yield
    except tf.errors.OpError as error:
      full = isinstance(error, tf.errors.ResourceExhaustedError)
      number = errno.ENOSPC if full else errno.EIO
      raise OSError(number, error.message, str(self._logdir)) from error


def _cut(path: pathlib.Path, stays: Callable[[Any], bool]) -> None:
  """Removes the other events, and a torn last one, from a file of events."""
  temporary = path.with_name('cut.tmp')
  with tf.io.TFRecordWriter(str(temporary)) as writer:
    for event in _events(path):
      if stays(event):
        writer.write(event.SerializeToString())
  temporary.replace(path)


def _events(path: pathlib.Path) -> Iterator[Any]:
  """The events of a file up to the first that is torn."""
  with contextlib.suppress(tf.errors.DataLossError):
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      yield tf.compat.v1.Event.FromString(record)
