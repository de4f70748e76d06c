"""The error that a failing computation raises, whichever runtime it ran on."""

import re
from typing import Optional


class ComputationError(RuntimeError):
  """A computation failed while it ran: an assertion, a shape, an operation's own error.

  Attributes:
    words: what it says itself.
    client: the position in the cohort of the client whose work failed, where the runtime knows it.
  """

  def __init__(self, message: str, client: Optional[int] = None):
    super().__init__(message if client is None else f'client {client} of the cohort: {message}')
    self.words = message
    self.client = client


class WorkersError(RuntimeError):
  """There is nobody left who could compute; one line, with what the workers said last."""


def message_of(error) -> str:
  """What a TensorFlow error says, in one line, without the names of generated functions."""
  text = getattr(error, 'message', None) or str(error)
  text = text.split('<stack traces unavailable>')[-1]
  text = re.sub(r'\[\[.*?\]\]|\{\{.*?\}\}|\[Op:[^]]*\]', ' ', text, flags=re.DOTALL)
  return ' '.join(text.split())
