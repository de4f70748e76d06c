"""What FedAdagrad, FedAdam and FedYogi share: an adaptive step of the server.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan 2021, "Adaptive Federated
Optimization", algorithm 2. With Δ_t the aggregated update of the clients, which train as in FedAvg,
and all operations per coordinate,

    m_t = β1 m_{t-1} + (1 - β1) Δ_t
    v_t = the method's rule of v_{t-1} and Δ_t²
    w_{t+1} = w_t + η_s m_t / (√v_t + τ),    m_{-1} = 0,  v_{-1} ≥ τ².

η_s is `--server_learning_rate`, with its schedule: the direction m / (√v + τ) is what the server's
plain gradient step gets in place of Δ_t. As one coordinate can move by about η_s in a round, useful
rates are well below FedAvg's 1; the paper's are between 0.001 and 1.

Differences from the paper:
1. Algorithm 2 averages the clients' updates uniformly; the experiments of the paper, and its code,
   weigh them by examples, and so do we. `--client_weighting=uniform` gives the pseudocode.
2. The code's FedAdam and FedYogi were the optimisers of Keras and TensorFlow Addons, which correct
   m and v for their start; there is no such correction here, as there is none in the algorithm.
3. The code started v at 0 (Adam has no other choice there, 0 was the tuned value of the others),
   against the algorithm's v_{-1} ≥ τ². Here it is τ² unless a larger number is given.
"""

import abc
import collections

import tensorflow as tf

from fl_research.algorithms.optimization import fed_avg
from fl_research.registry import UsageError


class AdaptiveServer(fed_avg.FedAvg, abc.ABC):
  """FedAvg with an adaptive server (see the module's docstring). Server state: m and v.

  Args:
    name: the method's name, for messages.
    beta_1: β1 in [0, 1).
    tau: τ > 0.
    initial_accumulator: v_{-1}, at least τ²; 0 stands for τ².

  Raises:
    UsageError: the initial accumulator is below τ².
  """

  def __init__(self, name: str, *, beta_1: float, tau: float, initial_accumulator: float):
    if 0 < initial_accumulator < tau**2:
      raise UsageError(
        f'--{name}_initial_accumulator={initial_accumulator}: accepted is 0, which stands for '
        f'--{name}_tau squared, or a number of at least that ({tau**2:g})'
      )
    self._beta_1 = beta_1
    self._tau = tau
    self._initial_accumulator = initial_accumulator or tau**2

  @abc.abstractmethod
  def second_moment(self, v: tf.Tensor, squared: tf.Tensor) -> tf.Tensor:
    """v_t from v_{t-1} and Δ_t²."""

  def initial_own(self, weights):
    return collections.OrderedDict(
      m=[tf.zeros_like(w) for w in weights],
      v=[tf.fill(w.shape, tf.constant(self._initial_accumulator, w.dtype)) for w in weights],
    )

  def finish(self, server, combined):
    before, delta = server.own, combined.update
    m = [self._beta_1 * m + (1.0 - self._beta_1) * d for m, d in zip(before['m'], delta)]
    v = [self.second_moment(v, tf.square(d)) for v, d in zip(before['v'], delta)]
    direction = tuple(a / (tf.sqrt(b) + self._tau) for a, b in zip(m, v))
    return self.step(server, direction)._replace(own=collections.OrderedDict(m=m, v=v))
