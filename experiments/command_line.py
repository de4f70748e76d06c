"""From the command line to `Settings`, and from mistakes to one line and exit code 2."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import errno
import os
import re
import signal
import sys
import textwrap
from typing import Any, Optional

from absl import flags

from fl_research import registry
from fl_research import settings as settings_lib
from fl_research.registry import UsageError
from fl_research.runtime import errors
from fl_research.settings import elsewhere, Settings

EXIT_USAGE = 2
_DISK_ERRORS = (
  errno.ENOSPC,
  errno.EDQUOT,
  errno.EFBIG,
  errno.EIO,
  errno.EROFS,
  errno.EACCES,
  errno.EPERM,
  errno.EISDIR,
  errno.ENOTDIR,
)
_BESIDE = ('tensorflow', 'tensorflow_federated')
"""What the wheel does not ask for, as pip cannot install it."""
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
    kind = type(flag.hyperparameter.default)
    define_flag(flag_values, name, kind, flag.hyperparameter.help)


def define_flag(flag_values: flags.FlagValues, name: str, kind: type, text: str) -> None:
  """Defines a flag that has no value unless one is given."""
  _DEFINE[kind](name, None, text, flag_values=flag_values)


def define_changes(flag_values: flags.FlagValues, names: Sequence[str]) -> None:
  """Defines flags for some settings of a run that there is already."""
  for field in settings_lib.fields():
    if field.name in names:
      define_flag(flag_values, field.name, field.metadata['type'], field.metadata['help'])


def parse_own(
  flag_values: flags.FlagValues,
  argv: Sequence[str],
  own: Mapping[str, str],
  needed: Sequence[str],
  changeable: Sequence[str] = (),
) -> None:
  """Parses the flags of a program about a run that there is already.

  Args:
    flag_values: to be given the flags and their values.
    argv: the command line.
    own: the program's own flags, texts, and their help.
    needed: those of them that must be given.
    changeable: settings of the run that may be given, too.

  Raises:
    UsageError: as `parse`; or a flag is missing.
  """
  for name, text in own.items():
    flags.DEFINE_string(name, '', text, flag_values=flag_values)
  define_changes(flag_values, changeable)
  parse(flag_values, argv)
  for name in needed:
    if not flag_values[name].value:
      raise UsageError(f'--{name}: must be given; it is {own[name]}')


def to_changes(flag_values: flags.FlagValues, names: Sequence[str]) -> dict[str, Any]:
  """Those of the settings that were given."""
  given = {name: flag_values[name].value for name in names}
  return {name: value for name, value in given.items() if value is not None}


def given_settings(flag_values: flags.FlagValues) -> dict[str, Any]:
  """The settings and hyperparameters that parsed flags give, by name."""
  known = settings_lib.flag_types()
  return {n: flag_values[n].value for n in known if flag_values[n].present}


def to_settings(flag_values: flags.FlagValues) -> Settings:
  """The settings that parsed flags describe."""
  return settings_lib.from_flags(given_settings(flag_values))


def read_flags(arguments: Sequence[str]) -> dict[str, Any]:
  """The settings and hyperparameters that arguments, --flagfile among them, give, by name.

  Raises:
    UsageError: as `parse`.
  """
  flag_values = flags.FlagValues()
  define_settings_flags(flag_values)
  parse(flag_values, ['', *arguments])
  return given_settings(flag_values)


def parse(
  flag_values: flags.FlagValues, argv: Sequence[str], arguments: Sequence[str] = ()
) -> list[str]:
  """Parses the arguments, --flagfile among them.

  Args:
    flag_values: the flags, to be given their values.
    argv: the command line, beginning with the program's name.
    arguments: names of the arguments without -- that must be given, flags before or after them.

  Returns:
    The arguments without --.

  Raises:
    UsageError: a flag does not exist or cannot have this value, a file of flags is missing, or
      there are more or fewer arguments.
  """
  flag_values.set_gnu_getopt(bool(arguments))
  flags.DEFINE_string('flagfile', '', 'read flags from this file', flag_values=flag_values)
  try:
    rest = flag_values(list(argv))
  except flags.UnrecognizedFlagError as error:
    hint = elsewhere.suggestion(error.flagname, flag_values)
    near = registry.nearest(error.flagname, flag_values)
    of_train = error.flagname in settings_lib.flag_types()
    hint = hint or (f'experiments.train has --{error.flagname}' if of_train else '')
    hint = hint or (f'did you mean --{near}?' if near else '--help=all lists all flags')
    raise UsageError(f'--{error.flagname}: there is no such flag; {hint}') from error
  except UnicodeDecodeError as error:
    raise UsageError(f'--flagfile: is not a text file ({error})') from error
  except flags.IllegalFlagValueError as error:
    raise _illegal_value(flag_values, str(error)) from error
  except flags.Error as error:
    raise _other_error(str(error).removeprefix('ERROR:: ')) from error
  if len(rest) > 1 and not arguments:
    raise UsageError(
      f'{rest[1]}: arguments without -- are not understood; --help=all lists all flags'
    )
  if len(rest) != 1 + len(arguments):
    raise UsageError(
      f'{" ".join(rest[1:]) or "nothing"}: expected is {" ".join(arguments)}; --help tells more'
    )
  return rest[1:]


def _illegal_value(flag_values: flags.FlagValues, message: str) -> UsageError:
  """The error for a value that is not of its flag's type."""
  match = re.match(r'flag --(\w+)=(.*?): ', message, re.DOTALL)
  if not match or match[1] not in flag_values:
    return UsageError(message)
  accepted = {'bool': 'true or false', 'int': 'an integer', 'float': 'a number'}
  kind = flag_values[match[1]].flag_type()
  return UsageError(f'--{match[1]}={match[2]}: accepted is {accepted.get(kind, kind)}')


def _other_error(message: str) -> UsageError:
  """The error for what else a command line can be wrong in, a flag without its value above all."""
  match = re.fullmatch(r'Missing value for flag --(\w+)', message)
  choices = {field.name: field.metadata['choices'] for field in settings_lib.fields()}
  if not match or not choices.get(match[1]):
    return UsageError(message)
  return UsageError(f'--{match[1]}: needs a value; accepted are {", ".join(choices[match[1]]())}')


Main = Callable[[Sequence[str]], int]
"""A program: the command line, beginning with its name, -> its exit code."""


def run_main(main: Main) -> None:
  """Runs a program on this process's command line and exits with its code."""
  sys.exit(run(main, sys.argv))


def run(main: Main, argv: Sequence[str]) -> int:
  """Runs a program; gives its exit code.

  A user's mistake ends in one line and code 2, a disk that takes no more in one line and code 1,
  Ctrl-C in code 130.
  """
  try:
    code = main(argv)
    sys.stdout.flush()
  except UsageError as error:
    code = _complain(argv[0], str(error), EXIT_USAGE)
  except errors.WorkersError as error:
    code = _complain(argv[0], f'{error}; the same command goes on from the last checkpoint', 1)
  except KeyboardInterrupt:
    code = 128 + signal.SIGINT
  except BrokenPipeError:
    # Whoever read our output has gone (`| head -1`); Python must not try to flush it again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    code = 0
  except ModuleNotFoundError as error:
    if error.name not in _BESIDE:
      raise
    code = _complain(
      argv[0],
      f'{error.name} is not installed, which goes beside this package and not with it (README.md, '
      '"In Python")',
      1,
    )
  except OSError as error:
    if error.errno not in _DISK_ERRORS:
      raise
    where = f' ({error.filename})' if error.filename else ''
    code = _complain(
      argv[0],
      f'{os.strerror(error.errno)}{where}; what was written before is intact, and the same command '
      'goes on from there',
      1,
    )
  return code


def say(line: str) -> None:
  """Tells the user something on stderr, to whoever is still listening."""
  with contextlib.suppress(BrokenPipeError):
    print(line, file=sys.stderr, flush=True)


def _complain(program: str, message: str, code: int) -> int:
  line = ' '.join(message.split())
  say(f'{os.path.basename(program)}: {line}')
  return code


def help_topic(argv: Sequence[str]) -> Optional[str]:
  """What the command line asks help about: `--help=TOPIC`, '' for --help; None for no help."""
  for argument in argv[1:]:
    match = _HELP.fullmatch(argument)
    if match:
      return 'all' if match[1] else match[2] or ''
  return None


_HELP = re.compile(r'--?(?:h|help|(helpfull))(?:=(.*))?')


def wants_help(argv: Sequence[str]) -> bool:
  """Whether the command line asks for help."""
  return help_topic(argv) is not None


def print_help(program: str, introduction: str, groups: Mapping[str, list[str]]) -> None:
  """Prints a page of help: an introduction, then lines by group."""
  print(f'{program}\n')
  if introduction:
    print(textwrap.dedent(introduction).strip() + '\n')
  for group, lines in groups.items():
    print(f'{group}')
    print('\n'.join(lines) + '\n')


def settings_help() -> dict[str, list[str]]:
  """Lines of help for all settings, by group."""
  groups: dict[str, list[str]] = {}
  for field in settings_lib.fields():
    groups.setdefault(field.metadata['group'], []).extend(setting_help(field))
  for name, flag in settings_lib.registry_flags().items():
    group = groups.setdefault(f'{flag.group}: hyperparameters', [])
    group.extend(hyperparameter_help(name))
  return groups


def hyperparameter_help(name: str) -> list[str]:
  """Lines of help for a flag that an entry of a registry brings with it."""
  return described(name, settings_lib.registry_flags()[name].hyperparameter)


def described(name: str, hyperparameter: registry.Hyperparameter) -> list[str]:
  """Lines of help for a hyperparameter, by its flag."""
  h = hyperparameter
  return _help_lines(name, h.help, h.default, h.domain, [])


def changes_help(names: Sequence[str]) -> list[str]:
  """Lines of help for some settings of a run that there is already."""
  fields = [field for field in settings_lib.fields() if field.name in names]
  return [line for field in fields for line in _setting_help(field, default=None)]


def setting_help(field: dataclasses.Field) -> list[str]:
  """Lines of help for a setting."""
  return _setting_help(field, field.default)


def _setting_help(field: dataclasses.Field, default: Any) -> list[str]:
  metadata = field.metadata
  names = list(metadata['choices']()) if metadata['choices'] else []
  return _help_lines(field.name, metadata['help'], default, metadata['domain'], names)


def flag_help(name: str, text: str) -> list[str]:
  """Lines of help for a flag of a program's own."""
  return _help_lines(name, text, None, '', [])


def _help_lines(name: str, text: str, default: Any, domain: str, choices: list[str]) -> list[str]:
  shown = f' [{default}]' if default not in ('', None) and default is not False else ''
  extra = f'; {domain}' if domain else ''
  first = f'  --{name}{shown}: {text}{extra}'
  wrapped = textwrap.wrap(first, 100, subsequent_indent='      ')
  if choices:
    names = ', '.join(choices)
    wrapped += textwrap.wrap(names, 100, initial_indent='      = ', subsequent_indent='        ')
  return wrapped
