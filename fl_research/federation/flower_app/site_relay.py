"""Between Flower and a site: what the site's socket says to what Flower has brought."""

from typing import Any

from fl_research.federation import addresses, local_socket
from fl_research.registry import UsageError


def answer(
  label: dict[str, Any],
  message: bytes,
  site: str,
  address: str,
  token_file: str,
  patience: float,
) -> tuple[dict[str, Any], bytes]:
  """Label and message of the reply.

  Args:
    label: `operation` is `ask` or `again`, `id` the request's.
    message: with `ask`, the request.
    site: the site's name.
    address: where it listens.
    token_file: for a port, the file of the token.
    patience: seconds after which a site that is still at work says so.
  """
  key = bytes.fromhex(label['id'])
  request = message if label['operation'] == 'ask' else None
  try:
    at, token = addresses.parse('site', address), addresses.token_path(token_file)
    with local_socket.Connection(at, token) as connection:
      outcome = connection.ask(key, request, patience)
  except (local_socket.Unanswered, UsageError) as error:
    return {'state': 'lost', 'site': site, 'reason': f'its program does not answer: {error}'}, b''
  if isinstance(outcome, bytes):
    return {'state': 'reply', 'site': site}, outcome
  return {'state': outcome.name.lower(), 'site': site}, b''
