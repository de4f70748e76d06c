"""What the levels of a tree of folders mean: whose a file is, its class, whether it is a test file.

`hospital_1/train/cat/x.png`: client, split, class. A level of train and test folders is seen by its
names; which of two others is the client and which the class, by words in the names (client, site,
user, ...), or by a level of 0, 1, 2, ..., the class. Where none of this tells, `--folder_levels`
must: clients may be more than classes, or fewer.
"""

from collections.abc import Sequence
import dataclasses
import re
from typing import Optional

from fl_research.registry import UsageError

CLIENT, CLASS, SPLIT, IGNORE = 'client', 'class', 'split', 'ignore'
LEVELS = (CLIENT, CLASS, SPLIT, IGNORE)
_TRAIN = frozenset({'train', 'training'})
_VALIDATION = frozenset({'val', 'valid', 'validation', 'dev'})
_TEST = frozenset({'test', 'testing', 'tests'})
_SPLITS = _TRAIN | _VALIDATION | _TEST
_WHO = re.compile(
  r'(client|site|user|writer|hospital|clinic|device|person|patient|subject|station|node|author|'
  r'speaker|drawer|centre|center|institution|camera|party|worker|silo|farm)s?[ _\-.]*\w*$',
  re.IGNORECASE,
)
_WHAT = re.compile(r'(class|label|category)[ _\-.]*\w*$', re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Levels:
  """What each level of folders is, from the outermost, and how that is known."""

  roles: tuple[str, ...]
  reason: str

  def pick(self, role: str, folders: Sequence[str]) -> Optional[str]:
    """A file's folder of that role; None where no level has it."""
    return folders[self.roles.index(role)] if role in self.roles else None


def check_split(names: set[str], flag: str) -> None:
  """Raises `UsageError` if a level that is said to be the split has other folders too."""
  others = sorted(name for name in names if name.lower() not in _SPLITS)
  if others:
    raise UsageError(
      f'--folder_levels={flag}: {others[0]} is none of {", ".join(sorted(_SPLITS))}, which say '
      'what is for training and what for testing'
    )


def is_test(name: Optional[str], has_test: bool) -> bool:
  """Whether a folder of a split level holds test files: validation only where nothing else does."""
  lower = (name or '').lower()
  return lower in _TEST or (lower in _VALIDATION and not has_test)


def has_test(names: set[str]) -> bool:
  """Whether a split level has a folder of test files."""
  return any(name.lower() in _TEST for name in names)


def given(flag: str, depth: int, where: str) -> Levels:
  """The levels that `--folder_levels` says.

  Raises:
    UsageError: it names something else, the files lie deeper or less deep, or it has no class.
  """
  roles = tuple(role.strip() for role in flag.split('/') if role.strip())
  for role in roles:
    if role not in LEVELS:
      raise UsageError(f'--folder_levels={flag}: {role} is none of {", ".join(LEVELS)}')
  for role in (CLIENT, CLASS, SPLIT):
    if roles.count(role) > 1:
      raise UsageError(f'--folder_levels={flag}: names {role} twice')
  if CLASS not in roles:
    raise UsageError(f'--folder_levels={flag}: no level says the class, client/class for example')
  if len(roles) != depth:
    raise UsageError(
      f'--folder_levels={flag}: {where} has {depth} level{"s" * (depth != 1)} of folders, not '
      f'{len(roles)}'
    )
  return Levels(roles, 'as --folder_levels says')


def guess(names: Sequence[set[str]], where: str) -> Levels:
  """The levels by the names of their folders, outermost first.

  Raises:
    UsageError: there are none, or nothing tells the client from the class.
  """
  roles: list[Optional[str]] = [_sure(level) for level in names]
  if roles.count(SPLIT) > 1:
    roles = [None if role == SPLIT else role for role in roles]
  open_levels = [k for k, role in enumerate(roles) if role is None]
  only = names[open_levels[0]] if len(open_levels) == 1 else set()
  if not open_levels or (only and all(_WHO.match(name) for name in only)):
    raise UsageError(
      f'{where}: no folder says the class of a picture; put each class in a folder of its own'
    )
  if len(open_levels) > 2:
    raise _unclear(names, roles, where)
  reason = 'the only level that can be'
  if len(open_levels) == 1:
    roles[open_levels[0]] = CLASS
  else:
    outer, inner = open_levels
    outer_is_client, reason = _who(
      names[outer], names[inner], lambda: _unclear(names, roles, where)
    )
    roles[outer], roles[inner] = (CLIENT, CLASS) if outer_is_client else (CLASS, CLIENT)
  return Levels(tuple(role or IGNORE for role in roles), reason)


def _sure(names: set[str]) -> Optional[str]:
  """What a level is by itself: a split, or one folder around all others."""
  lower = {name.lower() for name in names}
  if lower <= _SPLITS:
    return SPLIT
  return IGNORE if len(names) == 1 else None


def _who(outer: set[str], inner: set[str], unclear) -> tuple[bool, str]:
  """Whether the outer one of two levels is the client, and how that is known."""
  for pattern, role in ((_WHO, CLIENT), (_WHAT, CLASS)):
    matches = [all(pattern.match(name) for name in level) for level in (outer, inner)]
    if matches[0] != matches[1]:
      example = sorted(outer if matches[0] else inner)[0]
      return (matches[0] == (role == CLIENT)), f'{role} by names such as {example}'
  if _is_counted(outer) != _is_counted(inner):
    last = len(inner if _is_counted(inner) else outer) - 1
    return _is_counted(inner), f'class, as its folders are 0 to {last}'
  raise unclear()


def _is_counted(names: set[str]) -> bool:
  return names == {str(k) for k in range(len(names))}


def _unclear(names: Sequence[set[str]], roles: Sequence[Optional[str]], where: str) -> UsageError:
  levels = ' / '.join(f'{sorted(level)[0]} ({len(level)})' for level in names)
  left = [CLIENT, CLASS, *[IGNORE] * len(roles)]
  example = '/'.join(role or left.pop(0) for role in roles)
  return UsageError(
    f'{where}: cannot tell which level of folders ({levels}) is the client and which the class; '
    f'say so by --folder_levels={example} or in another order'
  )
