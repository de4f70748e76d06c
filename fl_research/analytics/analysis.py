"""What an analysis is: a state that the server has, a round that changes it, what it says."""

import abc
from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Generic, Optional, TypeVar

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import random_streams
from fl_research.aggregation import sums as sums_lib
from fl_research.aggregation.privacy import dp_mean
from fl_research.settings import Settings
from fl_research.training.guarantee import Guarantee
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
    column: what of the data is looked at, see `columns`; empty where that is its examples.
    guarantee: the differential privacy of what is summed; None without any.
  """

  settings: Settings
  data: RunData
  sums: sums_lib.Sums
  column: str = ''
  guarantee: Optional[Guarantee] = None

  @property
  def dtype(self) -> tf.DType:
    """Of the numbers that are summed; secure sums are those of float32."""
    return tf.float32 if self.sums.are_secure else tf.float64

  def sum_factory(self) -> tff.aggregators.UnweightedAggregationFactory:
    """How floats of one round are summed: in the clear, secure, or with noise.

    With noise a client's numbers are scaled, where they are longer, to `--dp_clip_norm` = C
    together, and each entry of the sum has noise of standard deviation z C.
    """
    if self.guarantee is None:
      return self.sums.float_sum()
    settings = self.settings
    assert settings.dp_clip_norm is not None  # `soundness.privacy` has seen to that.
    return dp_mean.NoisyMean(
      settings.dp_clip_norm,
      self.guarantee.noise_multiplier,
      1.0,  # Not a mean of so many, but the sum.
      random_streams.stateless_seed(settings.seed, 'noise of an analysis'),
      sums=self.sums,
    )


class Analysis(abc.ABC, Generic[State]):
  """One analysis. Its module has a `build(setup, **parameters)` that returns it.

  What clients compute, and what is made of it on the way to the server, are TFF computations, run
  by the runtime that the settings name.

  Attributes:
    numbers_up, numbers_down: how many numbers of 32 bits a client sends and is sent in a round.
    cohort_size: how many clients take part in a round; None where the settings say so.
    table_columns: the columns of a table that may have no rows; empty where it always has some.
  """

  cohort_size: Optional[int] = None
  table_columns: tuple[str, ...] = ()

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

  def facts(self) -> Mapping[str, Any]:
    """What the manifest says besides."""
    return {}

  @abc.abstractmethod
  def table(self, state: State) -> Sequence[Row]:
    """What was found: the rows of the analysis' own CSV."""
