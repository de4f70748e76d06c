"""From the command line to `Settings`, and from mistakes to one line and exit code 2."""

from collections.abc import Callable, Mapping, Sequence
import difflib
import errno
import os
import sys
import textwrap
from typing import Any

from absl import flags

from fl_research import settings as settings_lib
from fl_research.datasets.federated_data import DataError
from fl_research.registry import UsageError
from fl_research.settings import Settings

EXIT_USAGE = 2
_DEFINE = {
  bool: flags.DEFINE_bool,
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  str: flags.DEFINE_string,
}


def define_settings_flags(flag_values: flags.FlagValues) -> None:
  """Defines a flag for every setting, and for every hyperparameter of the registries."""
  for field in settings_lib.fields():
    define = _DEFINE[field.metadata['type']]
    define(field.name, field.default, field.metadata['help'], flag_values=flag_values)
  for name, flag in settings_lib.registry_flags().items():
    default = flag.hyperparameter.default
    _DEFINE[type(default)](name, None, flag.hyperparameter.help, flag_values=flag_values)


def to_settings(flag_values: flags.FlagValues) -> Settings:
  """The settings that parsed flags describe."""
  given = {field.name: flag_values[field.name].value for field in settings_lib.fields()}
  method = {
    name: flag_values[name].value
    for name in settings_lib.registry_flags()
    if flag_values[name].value is not None
  }
  return Settings(**given, method_flags=method)


def parse(flag_values: flags.FlagValues, argv: Sequence[str]) -> None:
  """Parses the arguments; `UsageError` for flags that do not exist or have no such value."""
  try:
    rest = flag_values(list(argv))
  except flags.UnrecognizedFlagError as error:
    near = difflib.get_close_matches(error.flagname, list(flag_values), n=1)
    hint = f'; did you mean --{near[0]}?' if near else '; --help lists all flags'
    raise UsageError(f'--{error.flagname}: there is no such flag{hint}') from error
  except flags.Error as error:
    raise UsageError(' '.join(str(error).split())) from error
  if len(rest) > 1:
    raise UsageError(f'{rest[1]}: arguments without -- are not understood; --help lists all flags')


def run_main(main: Callable[[], int]) -> None:
  """Runs a program and exits with its code; users' mistakes end in one line and code 2."""
  try:
    code = main()
    sys.stdout.flush()
  except (UsageError, DataError) as error:
    code = _complain(str(error), EXIT_USAGE)
  except BrokenPipeError:
    # Whoever read our output has gone (`| head -1`); Python must not try to flush it again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    code = 0
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
      raise
    where = f' ({error.filename})' if error.filename else ''
    code = _complain(f'{os.strerror(error.errno)}{where}; what was written before is intact', 1)
  sys.exit(code)


def _complain(message: str, code: int) -> int:
  line = ' '.join(message.split())
  print(f'{os.path.basename(sys.argv[0])}: {line}', file=sys.stderr)
  return code


def print_help(program: str, introduction: str, groups: Mapping[str, list[str]]) -> None:
  """Prints a page of help: an introduction, then lines by group."""
  print(f'{program}\n')
  print(textwrap.dedent(introduction).strip() + '\n')
  for group, lines in groups.items():
    print(f'{group}')
    print('\n'.join(lines) + '\n')


def settings_help() -> dict[str, list[str]]:
  """Lines of help for the settings, by group."""
  groups: dict[str, list[str]] = {}
  for field in settings_lib.fields():
    metadata = field.metadata
    names = list(metadata['choices']()) if metadata['choices'] else []
    lines = _help_lines(field.name, metadata['help'], field.default, metadata['domain'], names)
    groups.setdefault(metadata['group'], []).extend(lines)
  for name, flag in settings_lib.registry_flags().items():
    h = flag.hyperparameter
    group = groups.setdefault(f'{flag.group}: hyperparameters', [])
    group.extend(_help_lines(name, h.help, h.default, h.domain, []))
  return groups


def _help_lines(name: str, text: str, default: Any, domain: str, choices: list[str]) -> list[str]:
  shown = f' [{default}]' if default not in ('', None) and default is not False else ''
  extra = f'; {domain}' if domain else ''
  first = f'  --{name}{shown}: {text}{extra}'
  wrapped = textwrap.wrap(first, 100, subsequent_indent='      ')
  if choices:
    names = ', '.join(choices)
    wrapped += textwrap.wrap(names, 100, initial_indent='      = ', subsequent_indent='        ')
  return wrapped
