"""What an analysis is: a state that the server has, a round that changes it, what it says."""

import abc
from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Generic, TypeVar

import numpy as np

from fl_research.aggregation import sums as sums_lib
from fl_research.settings import Settings
from fl_research.training.run_data import RunData

State = TypeVar('State')
Row = Mapping[str, Any]
"""A row of a CSV: values by column; None where there is none."""


@dataclasses.dataclass(frozen=True)
class Setup:
  """What an analysis is given.

  Attributes:
    settings: those of the run that are training's, too.
    data: whose data it is about: `data.train` are the clients.
    sums: how sums over clients are taken.
  """

  settings: Settings
  data: RunData
  sums: sums_lib.Sums


class Analysis(abc.ABC, Generic[State]):
  """One analysis. Its module has a `build(setup, **parameters)` that returns it.

  What clients compute, and what is made of it on the way to the server, are TFF computations, run
  by the runtime that the settings name.

  Attributes:
    numbers_up, numbers_down: how many numbers of 32 bits a client sends and is sent in a round.
  """

  numbers_up: int
  numbers_down: int

  @abc.abstractmethod
  def initial(self) -> State:
    """The server's state before the first round: any structure of arrays."""

  @abc.abstractmethod
  def step(self, state: State, round_num: int, cohort: np.ndarray) -> State:
    """The server's state after a round.

    Args:
      state: that before it.
      round_num: its number, from 1.
      cohort: the positions in `data.train` of the clients that take part.
    """

  @abc.abstractmethod
  def measures(self, state: State) -> Row:
    """The columns of metrics.csv, the same in every round."""

  @abc.abstractmethod
  def table(self, state: State) -> Sequence[Row]:
    """What was found: the rows of the analysis' own CSV."""
