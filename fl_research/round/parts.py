"""What a federated round is made of."""

from collections.abc import Callable
import dataclasses
from typing import Any, Optional, Union

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import combiner as combiner_lib
from fl_research.aggregation import sums as sums_lib
from fl_research.aggregation.compression import compressor as compressor_lib
from fl_research.aggregation.privacy import local_noise as local_noise_lib
from fl_research.models import model as model_lib
from fl_research.population.attacks import attack as attack_lib
from fl_research.round import method as method_lib

Schedule = Callable[[tf.Tensor], tf.Tensor]
"""Round number (int32, the first round is 0) -> the factor of the learning rate (float32)."""


def constant_schedule(round_num: tf.Tensor) -> tf.Tensor:
  """The schedule that changes nothing."""
  del round_num
  return tf.constant(1.0)


@dataclasses.dataclass(frozen=True)
class Parts:
  """What a federated round is made of.

  Attributes:
    model: the model, whose initial weights start the run.
    method: the method.
    client_optimizer: optimiser of the local steps; fresh on every client and in every round.
    server_optimizer: optimiser of the server's step.
    aggregator: how updates are combined: a combiner or any `tff.aggregators` factory, weighted or
      not; the weighted mean when None.
    local_noise: what clients do to their updates before they send them; nothing when None. Nothing
      else may leave them then (`composition.build_process`).
    sums: how sums over clients are taken that are not the aggregator's own.
    compressor: how updates are sent; as they are when None.
    attack: what the attackers do; nobody lies when None.
    attackers: positions of the attackers.
    client_weighting: p_k in proportion to a client's examples, to its tokens (labels that are not
      padding), or the same for all.
    client_schedule, server_schedule: factors of the two learning rates by round.
    batch_size: B when it is fixed, for a tighter type; None leaves it open.
    server_data: the D of the server's own examples, for those that look at them.
    population_size, cohort_size, seed: see `method.Federation`.
  """

  model: model_lib.Model
  method: method_lib.Method
  client_optimizer: tff.learning.optimizers.Optimizer
  server_optimizer: tff.learning.optimizers.Optimizer
  aggregator: Union[combiner_lib.Combiner, tff.aggregators.AggregationFactory, None] = None
  local_noise: Optional[local_noise_lib.LocalNoise] = None
  sums: sums_lib.Sums = sums_lib.CLEAR
  compressor: Optional[compressor_lib.Compressor] = None
  attack: Optional[attack_lib.Attack] = None
  attackers: tuple[int, ...] = ()
  client_weighting: str = 'num_examples'
  client_schedule: Schedule = constant_schedule
  server_schedule: Schedule = constant_schedule
  batch_size: Optional[int] = None
  server_data: Optional[Any] = None
  population_size: Optional[int] = None
  cohort_size: Optional[int] = None
  seed: int = 0

  def federation(self, weights: Optional[method_lib.Weights] = None) -> method_lib.Federation:
    """What the method is bound to, with initial weights of the graph that is being built."""
    return method_lib.Federation(
      self.model,
      self.server_optimizer,
      self.population_size,
      self.cohort_size,
      self.seed,
      self.server_data,
      weights,
    )

  def is_attacker(self, clients: tf.Tensor) -> tf.Tensor:
    """Which of these clients (any shape) attack: bool of the same shape."""
    attackers = tf.constant(self.attackers, tf.int32)
    return tf.reduce_any(tf.equal(clients[..., tf.newaxis], attackers), axis=-1)
