"""What every reader of a user's files gives: what was found, and the examples client by client.

    files of any form --reader--> Source --store--> a folder of ours, or memory --> FederatedData

Opening a source reads as much as it takes to say what is there (`found`, `counts`); the examples
are read when `parts` is gone through, a bounded number at a time.
"""

import abc
from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import types
from typing import Any, Optional

import numpy as np

from fl_research.datasets.federated_data import Examples, InputColumn, LabelScale, Problem

PLAIN = 'numbers'
"""The reason of columns of plain numbers."""


@dataclasses.dataclass(frozen=True)
class ColumnFound:
  """A column of a table, and what becomes of it.

  Attributes:
    name: what the file calls it.
    role: one of `roles.ROLES`.
    reason: why it has this role, in a few words; that a flag says so, where one does.
    treatment: what is done with it, in a few words.
    missing: how many rows have no value.
    distinct: how many different values it has; None where nobody counted.
  """

  name: str
  role: str
  reason: str
  treatment: str
  missing: int = 0
  distinct: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class Found:
  """What is in a user's files, before anything is made of them.

  Attributes:
    form: of the files, in a few words: `CSV (separated by ';', decimal comma, Latin-1)`.
    clients: who says whose an example is, in a few words: `column Klinik`, `a file each`.
    label: what is predicted, in a few words: `column Befund, 3 classes`.
    classes: the names of the classes, in the order of their numbers; none for numbers.
    columns: of tables, every column.
    notes: what the user should know of the data, a line each: a class that one site only has, a
      category that gives a client away.
  """

  form: str
  clients: str
  label: str
  classes: Sequence[str] = ()
  columns: Sequence[ColumnFound] = ()
  notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Spec:
  """What one example is, as `FederatedData` has it.

  Attributes:
    x_shape, x_dtype, y_shape, y_dtype: of one example.
    problem, num_classes, inputs, label_scale: as in `FederatedData`.
  """

  x_shape: tuple[int, ...]
  x_dtype: np.dtype
  y_shape: tuple[int, ...]
  y_dtype: np.dtype
  problem: Problem
  num_classes: int
  inputs: Optional[tuple[InputColumn, ...]] = None
  label_scale: Optional[LabelScale] = None


@dataclasses.dataclass(frozen=True)
class Counts:
  """How many examples every client has, in the clients' order.

  Attributes:
    ids: the clients.
    train, test: int64 [num_clients].
  """

  ids: Sequence[str]
  train: np.ndarray
  test: np.ndarray


@dataclasses.dataclass(frozen=True)
class Part:
  """Some examples of one client.

  Attributes:
    client: its position in `Counts.ids`.
    test: whether they are test examples.
    examples: `x` and `y`.
  """

  client: int
  test: bool
  examples: Examples


class Source(abc.ABC):
  """A user's files, opened.

  Attributes:
    found: what is in them.
    spec: what one example is.
    counts: whose they are.
    files: SHA-256 by name of what was read; whole when `parts` has been gone through.
    preprocessing: what was done to a value on its way to x and y and from the model's answer to a
      value again, as JSON-able data with arrays (`preprocessing.Preprocessing.to_data()`); {} where
      nothing was.
    pooled: whether nobody owns an example: all are those of one client, to be dealt out.
  """

  found: Found
  spec: Spec
  counts: Counts
  files: Mapping[str, str]
  preprocessing: Mapping[str, Any] = types.MappingProxyType({})
  pooled: bool = False

  @abc.abstractmethod
  def parts(self) -> Iterator[Part]:
    """All examples, a bounded number at a time, in any order of clients.

    What comes first of a client and part (training or test) is its first row.
    """
