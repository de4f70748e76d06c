"""How clients' updates become one: the interface of aggregators, and of what is put around them.

    client:  encode(update) -> message          (what crosses the wire)
    server:  decode(message) -> update, then combine all of them

A combiner says what it needs of the clients:

- `SUMS`: sums over clients only, which may be secure ones;
- `STACKED`: every client's update beside the others (median, Krum);
- `PRIVATE`: sums whose noisy result is all that may be learnt.

It may keep a state at the server (an adaptive bound, a momentum), and one on every client (what a
lossy message has left out). How updates are sent is its encoder's to say, by default as they are; a
compressor is another one.

TFF has no placement for "at the server, one client at a time" but the inside of an aggregation;
where a round is composed to TFF, `decode` is the first computation over the messages there. Other
drivers call it at the server.
"""

import abc
from collections.abc import Callable, Sequence
import copy
from typing import Any, NamedTuple, Optional

import tensorflow as tf
import tensorflow_federated as tff

SUMS, STACKED, PRIVATE = 'sums', 'stacked', 'private'

Update = tuple[tf.Tensor, ...]
"""The tensors of one update."""


Stacked = tuple[tf.Tensor, ...]
"""Clients' updates side by side: each tensor is [n, ...], row i being client i's."""

Seen = Callable[[Stacked, tf.Tensor], Stacked]
"""Stacked updates and their clients, int32 [n] -> the updates that are combined."""


class Combining(NamedTuple):
  """A combiner for one type of update, as TFF computations.

  Attributes:
    initialize: `( -> S@SERVER)`.
    next: (S@SERVER, arrivals@CLIENTS, further@SERVER) -> `MeasuredProcessOutput` of the new S, the
      combined update and measurements. Arrivals are <update, weight=float32, client=int32>; what is
      further is the reference, shaped like an update, or what was drawn for this round, or empty
      for combiners that need neither.
  """

  initialize: tff.Computation
  next: Callable[[tff.Value, Any, tff.Value], tff.templates.MeasuredProcessOutput]


class Draw(NamedTuple):
  """What is drawn outside TFF for each round, since no seed may give it back.

  Attributes:
    type: its type.
    sample: draws it anew.
  """

  type: tff.Type
  sample: Callable[[], Any]


class Encoded(NamedTuple):
  """What a client sends of an update.

  Attributes:
    message: tensors; bytes (uint8) count as they are, numbers as 4 bytes each.
    client_state: the client's next state.
  """

  message: Any
  client_state: Any


class Encoder:
  """How an update becomes a message and an update again, as TensorFlow code; here unchanged.

  Attributes:
    lossy: whether `decode` of `encode` may be something else than the update.
    keeps_client_state: whether clients carry a state (error feedback) from round to round.
  """

  lossy = False
  keeps_client_state = False

  def check_shapes(self, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raises `UsageError` when the settings do not fit updates of these shapes."""
    del shapes

  def initial_client_state(self, update: Update) -> Any:
    """The state of a client that has never sent anything: tensors; none without any."""
    del update
    return ()

  def restrict_optimizer(
    self,
    optimizer: tff.learning.optimizers.Optimizer,
    seed: tf.Tensor,
    shapes: Sequence[Optional[tuple[int, ...]]],
  ) -> tff.learning.optimizers.Optimizer:
    """An optimiser whose steps stay in what can be sent; the same one for most.

    Args:
      optimizer: the client's optimiser.
      seed: int32 [2], the round's and client's own; the one that `encode` gets.
      shapes: the shape of every weight the optimiser sees; None for those that are not sent.
    """
    del seed, shapes
    return optimizer

  def encode(self, update: Update, seed: tf.Tensor, client_state: Any) -> Encoded:
    """A client's message.

    Args:
      update: float32 tensors of known shapes.
      seed: int32 [2], source of all randomness, the round's and client's own.
      client_state: the client's state.
    """
    del seed
    return Encoded(list(update), client_state)

  def decode(self, message: Any, shapes: Sequence[tuple[int, ...]]) -> Update:
    """The update that a message stands for, from the message and the shapes alone."""
    del shapes
    return tuple(message)


class Combiner(abc.ABC):
  """One way from the clients' updates to one.

  Attributes:
    kind: `SUMS`, `STACKED` or `PRIVATE`.
    uses_weights: whether it matters how much a client counts; where it does not, a weight of zero
      still leaves a client out.
    needs_reference: whether it compares updates with the one that a client with the server's own
      examples would send.
    encoder: how clients' updates are sent.
    expected_participants: what the server's step is told in place of the number of clients whose
      updates were used; None for the true number.
  """

  kind = SUMS
  uses_weights = True
  needs_reference = False
  encoder = Encoder()
  expected_participants: Optional[float] = None

  def sent_by(self, encoder: Encoder) -> 'Combiner':
    """The same rule, of updates that are sent in another way."""
    combiner = copy.copy(self)
    combiner.encoder = encoder
    return combiner

  def draw(self, update_type: tff.Type) -> Optional[Draw]:
    """What the rule is given of chance in each round; None for what a seed is enough for."""
    del update_type
    return None

  def combined_type(self, update_type: tff.Type) -> tff.Type:
    """The type of what comes of updates of a type; for most the same."""
    return update_type

  def hand_over(self, combined: Any, pack: Callable[[Any], Any]) -> Any:
    """What comes of updates as `Exchange.finish` is given it.

    Args:
      combined: of `combined_type`.
      pack: makes of an update's tensors, in order, what the client's work had as its update.
    """
    return pack(combined)

  @abc.abstractmethod
  def create(self, update_type: tff.Type) -> Combining:
    """The rule for updates of a type."""

  def create_seen(self, update_type: tff.Type, seen: Seen) -> Optional[Combining]:
    """The rule for updates that somebody sees, and may change, before they are combined.

    None where the rule, or what protects it, shows nobody the update of a single client.
    """
    del update_type, seen
    return None
