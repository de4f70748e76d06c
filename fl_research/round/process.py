"""A round that is ready to run: its TFF computations, and how to read what they give."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple, Optional, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import client_data
from fl_research.round import method as method_lib
from fl_research.round.client_half import METHOD
from fl_research.round.parts import Parts


class RoundResult(NamedTuple):
  """What a round leaves.

  Attributes:
    state: the new S.
    measured: M.
    kept: <client=int32[n], state=T[n]>, the new client states stacked, in any order; None where
      clients keep none.
  """

  state: Any
  measured: Any
  kept: Optional[Any]


class ClientStates(Protocol):
  """What a round asks of the store of its clients' states."""

  def get(self, ids: Iterable[int]) -> Sequence[Any]:
    """The T of these clients."""

  def put(self, ids: Iterable[int], stacked: Any) -> None:
    """Stores new T of these clients, stacked."""


@dataclasses.dataclass(frozen=True)
class FederatedProcess:
  """A federated optimisation method, ready to run.

  Attributes:
    start: `(W@SERVER -> S@SERVER)`.
    next: `(<S@SERVER, {D}@CLIENTS, …> -> <S, M, …>@SERVER)`, see
      `fl_research.round.composition`.
    client_data_type: the type D of one client's data.
    report_columns: names of the columns of `M.report.values`.
    client_state_type: T, of empty parts for methods that keep none.
    initial_client_state: the state of a client never seen before, as NumPy arrays; None for
      methods that keep none.
    parts: what the process is made of.
    method: its method, bound.
    aggregation_columns: names of the scalars among `M.aggregation`, the aggregator's measurements;
      those of measurements within measurements are joined by `/`.
    method_columns: names of the method's own numbers: its clients' (means over those whose updates
      were used), then its server's.
    bytes_down_per_client, bytes_up_per_client: uncompressed size of what a client receives and
      of what it sends, measured by the types that cross the wire.
    draw: draws anew what `next` is given of chance in each round, as its last argument; None where
      the run's seed is all the chance there is.
  """

  start: tff.Computation
  next: tff.Computation
  client_data_type: tff.Type
  report_columns: tuple[str, ...]
  client_state_type: tff.StructType
  initial_client_state: Optional[Any]
  parts: Parts
  method: method_lib.Method
  aggregation_columns: tuple[str, ...]
  method_columns: tuple[str, ...]
  bytes_down_per_client: int
  bytes_up_per_client: int
  draw: Optional[Callable[[], Any]] = None

  def initialize(self) -> Any:
    """S before round 1, with the model's initial weights."""
    return self.start(self.parts.model.initial_weights[0])

  @property
  def keeps_client_state(self) -> bool:
    """Whether clients carry a state from round to round."""
    return self.initial_client_state is not None

  def run_round(
    self, state: Any, cohort: Sequence[Any], client_states: Optional[ClientStates] = None
  ) -> RoundResult:
    """One round of `next`, whether clients keep a state or not.

    Args:
      state: S.
      cohort: the D of each client.
      client_states: where the T of the cohort are read and written; nobody has taken part before,
        and what clients would keep is forgotten, when None.
    """
    drawn = () if self.draw is None else (self.draw(),)
    if not self.keeps_client_state:
      state, measured = self.next(state, cohort, *drawn)
      return RoundResult(state, measured, None)
    if client_states is None:
      nothing = [self.initial_client_state] * len(cohort)
      return RoundResult(*self.next(state, cohort, nothing, *drawn))
    states = client_states.get(client_data.positions(cohort))
    state, measured, kept = self.next(state, cohort, states, *drawn)
    client_states.put(kept['client'], kept['state'])
    return RoundResult(state, measured, kept)

  def model_weights(self, state: Any) -> tuple[np.ndarray, ...]:
    """The global model of a server state, the first where a method has several."""
    return next(iter(self.models(state).values()))

  def models(self, state: Any) -> dict[str, tuple[np.ndarray, ...]]:
    """The models of a server state by name."""
    weights = tf.nest.map_structure(np.asarray, tuple(state['server']['weights']))
    return {name: tuple(model) for name, model in self.method.models(weights).items()}

  def training_metrics(self, measured: Any) -> Optional[Mapping[str, Any]]:
    """The metrics of a round's training by name, all clients together, as far as they are known.

    None, as for all methods of this library, where each client's are in the report.
    """
    del measured
    return None

  def aggregation_metrics(self, measured: Any) -> dict[str, Any]:
    """One round's values of `aggregation_columns`, from its M."""
    values = dict(leaves(measured['aggregation']))
    return {name: np.asarray(values[name]).item() for name in self.aggregation_columns}

  def method_metrics(self, measured: Any) -> dict[str, Any]:
    """One round's values of `method_columns`, from its M.

    Of what clients measure it is the mean of those that have a number: NaN is one that a client
    has not, or does not tell. Where none has one, it is NaN.
    """
    rows = np.asarray(measured['report']['values'])
    report = dict(zip(self.report_columns, rows[np.argsort(measured['report']['client'])].T))
    own = {name: np.asarray(value).item() for name, value in measured['method'].items()}
    used = report['finite'] > 0
    of_clients = lambda name: report[f'{METHOD}{name}'][used]
    return {n: own[n] if n in own else _mean(of_clients(n)) for n in self.method_columns}


def _mean(numbers: np.ndarray) -> float:
  known = numbers[~np.isnan(numbers)]
  return float(known.mean()) if len(known) else float('nan')


def leaves(structure: Any, path: str = '') -> Iterator[tuple[str, Any]]:
  """All (path, leaf) of nested mappings and sequences."""
  if isinstance(structure, (list, tuple)):
    structure = dict(enumerate(structure))
  if not isinstance(structure, Mapping):
    yield path, structure
    return
  for name, member in structure.items():
    yield from leaves(member, f'{path}/{name}' if path else str(name))


def scalar_names(type_spec: tff.Type) -> tuple[str, ...]:
  """Paths of the numbers in a structure of tensors."""
  specs = leaves(tff.types.type_to_tf_tensor_specs(type_spec))
  numeric = lambda spec: spec.dtype.is_floating or spec.dtype.is_integer
  return tuple(path for path, spec in specs if spec.shape.rank == 0 and numeric(spec))
