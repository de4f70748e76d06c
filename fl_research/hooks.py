"""Words for a mistake in a method's hook: the class, the hook, and what was wrong.

Whatever a hook hands back is checked where it is traced (see `fl_research.round.handed_back`);
without that its mistakes end in two TFF types that do not fit, somewhere in the composition.
"""

from collections.abc import Iterator
import contextlib
from typing import Any

import tensorflow as tf

_MOST = 4
_FOREIGN = 'Attempting to capture an EagerTensor'


class HookError(TypeError):
  """A method's hook hands back what nobody can use, or keeps what would be lost."""


def where(owner: Any, hook: str) -> str:
  """The hook as messages name it: class and function."""
  return f'{type(owner).__name__}.{hook}'


@contextlib.contextmanager
def functional(place: str) -> Iterator[None]:
  """Refuses variables in the block, which would begin anew for every client, and foreign tensors.

  Raises:
    HookError: the block makes a variable, or uses a variable or tensor that was made outside.
  """

  def refuse(*_, **__):
    raise HookError(
      f'{place}: makes a tf.Variable, of which nothing is kept from client to client or from round '
      'to round; return what is to be kept as client_state (initial_client_state), or send it'
    )

  try:
    with tf.variable_creator_scope(refuse):
      yield
  except RuntimeError as error:
    if _FOREIGN not in str(error):
      raise
    raise HookError(
      f'{place}: uses a tensor or tf.Variable that was made outside of it; keep constants as NumPy '
      "arrays, and what changes in client_state or in the server's own state"
    ) from error


def tensors(place: str, name: str, structure: Any) -> Any:
  """A structure with every number in it as a tensor.

  Raises:
    HookError: something in it is none.
  """
  return tf.nest.map_structure(lambda leaf: _tensor(place, name, leaf), structure)


def describe(structure: Any) -> str:
  """The tensors of a structure in a few words: `float32 [3, 2], float32 [2]`."""
  leaves = tf.nest.flatten(structure)
  words = [f'{leaf.dtype.name} {leaf.shape.as_list()}' for leaf in leaves[:_MOST]]
  more = [f'{len(leaves) - _MOST} more'] if len(leaves) > _MOST else []
  return ', '.join([*words, *more]) or 'no tensors'


def _tensor(place: str, name: str, leaf: Any) -> tf.Tensor:
  if isinstance(leaf, tf.Variable):
    raise HookError(f'{place}: {name} holds a tf.Variable, must be tensors')
  try:
    return tf.convert_to_tensor(leaf)
  except (TypeError, ValueError) as error:
    raise HookError(f'{place}: {name} holds {kind(leaf)}, must be tensors') from error


def floats(place: str, name: str, structure: Any) -> Any:
  """Likewise, where all must be float tensors."""
  found = tensors(place, name, structure)
  for leaf in tf.nest.flatten(found):
    if not leaf.dtype.is_floating:
      raise HookError(f'{place}: {name} holds {leaf.dtype.name}, must be float tensors')
  return found


def number(place: str, name: str, value: Any) -> tf.Tensor:
  """One number, as float32."""
  found = _tensor(place, name, value)
  if found.shape.rank != 0:
    raise HookError(f'{place}: {name} is {describe(found)}, must be one number')
  return tf.cast(found, tf.float32)


def require_type(place: str, found: Any, wanted: type) -> None:
  """Raises `HookError` when a hook returns another type than it must."""
  if not isinstance(found, wanted):
    raise HookError(f'{place}: returns {kind(found)}, must return a {wanted.__name__}')


def require_like(place: str, name: str, found: Any, like: Any, why: str) -> None:
  """Raises `HookError` unless two structures hold tensors of the same types, in the same order."""
  leaves, wanted = tf.nest.flatten(found), tf.nest.flatten(like)
  fits = len(leaves) == len(wanted) and all(
    leaf.dtype == other.dtype and leaf.shape.is_compatible_with(other.shape)
    for leaf, other in zip(leaves, wanted)
  )
  if not fits:
    raise HookError(f'{place}: {name} is {describe(found)}, must be {describe(like)}, {why}')


def kind(value: Any) -> str:
  """What a value is, for a message."""
  return 'None' if value is None else f'a {type(value).__name__}'
