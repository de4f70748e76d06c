"""How a session goes wrong."""


class ProtocolError(Exception):
  """A message, or a call, that the protocol does not allow; one line says who sent what."""


class Aborted(ProtocolError):
  """Too few clients are left: the session ends, and nobody has learnt anything."""
