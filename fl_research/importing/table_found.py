"""What was found in tables, in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Optional

import numpy as np

from fl_research.importing.column_choice import Choice
from fl_research.importing.encoders import Encoder, Tally
from fl_research.importing.labels import Label
from fl_research.importing.roles import Role
from fl_research.importing.source import ColumnFound, Counts
from fl_research.importing.survey import Column

_SHOWN = 3


def label(choice: Choice, what: Label) -> str:
  """What is predicted, and why it is that."""
  reason = f' ({choice.reason})' if choice.reason else ''
  return f'{", ".join(choice.labels)}{reason}: {what.words}'


def columns(
  surveyed: Mapping[str, Column],
  roles: Mapping[str, Role],
  encoders: Sequence[Encoder],
  what: Label,
) -> list[ColumnFound]:
  """Every column, and what becomes of it."""
  used = {encoder.name: encoder.treatment for encoder in encoders}
  found = []
  for name, column in surveyed.items():
    role = roles[name]
    treatment = used.get(name, 'left out')
    if role.role == 'label':
      treatment = f'predicted: {what.words}'
    if role.role == 'client':
      also = f'; also an input, as there are other ids: {treatment}' if name in used else ''
      treatment = f'says whose a row is{also}'
    if role.role == 'split':
      treatment = 'says which rows are test rows'
    found.append(
      ColumnFound(name, role.role, role.reason, treatment, column.missing, column.distinct)
    )
  return found


def notes(
  left_out: Sequence[str],
  ids: Sequence[str],
  choice: Choice,
  classes: Tally,
  encoders: Sequence[Encoder],
) -> list[str]:
  """What a user should know: files that were not read, what one client only has."""
  lines = [f'no tables, and left out: {_few(left_out)}'] if left_out else []
  if len(ids) == 1:
    return lines
  if classes.alone():
    lines.append(f'label {choice.labels[0]}: {_alone(classes.alone(), ids)}')
  for encoder in encoders:
    if encoder.given_away and encoder.name != choice.client:
      said = _alone(encoder.given_away, ids)
      lines.append(f'column {encoder.name}: {said}: it gives its client away')
  return lines


def of_clients(
  surveyed: Mapping[str, Column],
  filled: Mapping[str, np.ndarray],
  counts: Counts,
  encoders: Sequence[Encoder],
) -> Iterator[str]:
  """What a user should know of columns that tell clients apart.

  Args:
    surveyed: what the columns hold.
    filled: by column, whether each client has a value of it to train on.
    counts: the clients.
    encoders: of the columns that are inputs.
  """
  for encoder in encoders:
    empty = np.flatnonzero(~filled[encoder.name] & (counts.train > 0))
    if len(empty):
      more = f' and {len(empty) - 1} more have' if len(empty) > 1 else ' has'
      yield f'column {encoder.name}: client {counts.ids[empty[0]]}{more} no value of it to train on'
    if surveyed[encoder.name].names_files and not encoder.given_away:
      yield f'column {encoder.name}: one value a file: it gives its client away'
    alike = _alike(encoder)
    if alike:
      yield f'column {encoder.name}: {alike[0]!r} and {alike[1]!r} are two values; are they one?'


def _alike(encoder: Encoder) -> Optional[tuple[str, str]]:
  """The first two categories that differ but in capitals."""
  seen: dict[str, str] = {}
  for name in getattr(encoder, 'categories', ()):
    other = seen.setdefault(name.casefold(), name)
    if other != name:
      return other, name
  return None


def _alone(names: Sequence[tuple[str, int]], ids: Sequence[str]) -> str:
  """Which names one client only has, in a few words."""
  name, client = names[0]
  more = f', and {len(names) - 1} more such' if len(names) > 1 else ''
  return f'{name!r} is at client {ids[client]} only{more}'


def _few(names: Sequence[str]) -> str:
  more = len(names) - _SHOWN
  return ', '.join(names[:_SHOWN]) + (f' and {more} more' if more > 0 else '')
