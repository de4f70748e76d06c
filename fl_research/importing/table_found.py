"""What was found in tables, in words."""

from collections.abc import Mapping, Sequence

from fl_research.importing.column_choice import Choice
from fl_research.importing.encoders import Encoder, Tally
from fl_research.importing.labels import Label
from fl_research.importing.roles import Role
from fl_research.importing.source import ColumnFound
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


def _alone(names: Sequence[tuple[str, int]], ids: Sequence[str]) -> str:
  """Which names one client only has, in a few words."""
  name, client = names[0]
  more = f', and {len(names) - 1} more such' if len(names) > 1 else ''
  return f'{name!r} is at client {ids[client]} only{more}'


def _few(names: Sequence[str]) -> str:
  more = len(names) - _SHOWN
  return ', '.join(names[:_SHOWN]) + (f' and {more} more' if more > 0 else '')
