"""Tables as a source: a file or a folder of CSV or Parquet.

Three passes, each a chunk of rows at a time: what the columns hold and whose the rows are; what the
training rows say of means, categories and ids; the examples. Small files are read once. What is
kept for every row is its client and whether it is a test row, five bytes, and ten times as much
while test rows are drawn; of the first million rows, 13 bytes more (`leaks`).

Where neither file names nor a column divide the rows, a fifth of each client's (at least one),
drawn from the seed, is its test part; a client of one row only trains.
"""

from collections.abc import Iterator, Mapping
import os
from typing import Any, Optional

import numpy as np

from fl_research.datasets import files
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.importing import labels, leaks, surveyed_table, table_found
from fl_research.importing.encoders import Tally
from fl_research.importing.preprocessing import Preprocessing
from fl_research.importing.source import Found, Part, Source, Spec
from fl_research.importing.surveyed_table import in_file
from fl_research.registry import UsageError


class TableSource(surveyed_table.SurveyedTable, Source):
  """A file or folder of tables, opened.

  Attributes:
    fitted: what becomes of the columns.

  Args:
    options: `data_file`, the columns' roles, how CSVs are written, and the seed.
    shared: what becomes of the columns, where others have rows of the same table and all have found
      it out together; None where it is found out here.

  Raises:
    UsageError: a file, a column or a value cannot be used; one line that names it.
  """

  def __init__(self, options: DatasetOptions, shared: Optional[Preprocessing] = None):
    super().__init__(options, is_part=shared is not None)
    self._encoders = self.encoders() if shared is None else list(shared.columns)
    self._inputs = [encoder.name for encoder in self._encoders]
    self._label = self.label if shared is None else shared.label
    self._classes = Tally()
    self._watch = leaks.Watch(self._encoders, self._label)
    # Found out here, or not said of anybody.
    nobody = np.full(len(self.counts.ids), shared is not None)
    self._filled = {e.name: nobody.copy() for e in self._encoders}
    self.fitted = self._fitted() if shared is None else shared
    self.spec = self._spec()
    self.preprocessing: Mapping[str, Any] = self.fitted.to_data()
    self.files = self._checksums()
    self.found = self._found()

  def parts(self) -> Iterator[Part]:
    """The rows chunk by chunk, those of a client in the order of its files."""
    for rows, owners, test in self.again(self._inputs):
      key = 2 * owners.astype(np.int64) + test
      order = np.argsort(key, kind='stable')
      try:
        x, y = self.fitted.transform(rows.table)[order], self.fitted.labels(rows.table)[order]
      except UsageError as error:
        raise in_file(error, rows) from error
      key = key[order]
      starts = np.flatnonzero(np.diff(key, prepend=-1))
      for start, stop in zip(starts, [*starts[1:], len(key)]):
        examples = {'x': x[start:stop], 'y': y[start:stop]}
        yield Part(int(key[start]) // 2, bool(key[start] % 2), examples)

  def _fitted(self) -> Preprocessing:
    """The second pass: what the training rows say of the inputs' columns and of the labels."""
    for rows, owners, test in self.again(self._inputs):
      train = ~test
      try:
        for encoder in self._encoders if train.any() else ():
          cells = rows.table[encoder.name][train]
          encoder.fit(cells, owners[train])
          self._filled[encoder.name][owners[train][cells.notna().to_numpy()]] = True
        self._label.fit(rows.table, train)
        self._watch.add(rows.table, owners, test)
      except UsageError as error:
        raise in_file(error, rows) from error
      if isinstance(self._label, labels.Classes):
        self._classes.add(self._label.encode(rows.table), self._label.names, owners)
    for encoder in self._encoders:
      encoder.finish()
    self._label = self._label.fitted()
    # A category of which the training rows have no value takes no position.
    inputs = [encoder for encoder in self._encoders if encoder.width]
    if not inputs:
      left = {n: r for n, r in self.roles.items() if r.role in ('ignored', 'text')}
      why = '; '.join(f'{name} {role.reason}' for name, role in left.items())
      raise UsageError(
        f'{self._where}: no column besides client and label can be learnt from{why and f" ({why})"}'
      )
    return Preprocessing(inputs, self._label)

  def _spec(self) -> Spec:
    label = self._label
    return Spec(
      x_shape=(self.fitted.width,),
      x_dtype=np.dtype(np.float32),
      y_shape=label.y_shape,
      y_dtype=label.y_dtype,
      problem=label.problem,
      num_classes=label.num_classes,
      inputs=self.fitted.inputs,
      label_scale=label.scale,
    )

  def _checksums(self) -> dict[str, str]:
    root = self._where if os.path.isdir(self._where) else os.path.dirname(self._where)
    return {os.path.relpath(p, root or '.'): files.sha256_of(p) for p in self._tables.paths}

  def _unlabelled(self) -> Iterator[str]:
    if self.unlabelled:
      names = ', '.join(self._choice.labels)
      yield f'{self.unlabelled} rows have no label ({names}), and are left out'

  def _found(self) -> Found:
    choice, ids = self._choice, self.counts.ids
    clients = f'column {choice.client}' if choice.client else 'a file each'
    used = self.fitted.columns
    return Found(
      form=self._tables.form,
      clients='nobody' if self.pooled else clients,
      label=table_found.label(choice, self._label),
      classes=self._label.names,
      columns=table_found.columns(self._columns, self.roles, used, self._label),
      notes=[
        *self._unlabelled(),
        *self._watch.notes(),
        *table_found.notes(self._layout.left_out, ids, choice, self._classes, used),
        *table_found.of_clients(self._columns, self._filled, self.counts, used),
      ],
    )
