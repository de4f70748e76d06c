"""Brings a federation up: keys, Flower's programs, or all of it on one machine.

    .venv/bin/python -m experiments.federation keys --keys=keys --hosts=engine.example.org
    .venv/bin/python -m experiments.federation superlink --keys=keys --engine=unix:/srv/engine.sock
    .venv/bin/python -m experiments.federation supernode --site=north …
    .venv/bin/python -m experiments.federation local --folder=/tmp/fl --sites=north,south …

docs/federation.md walks through three machines.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import datetime
import os
import pathlib
import shlex
import signal
import sys
import time

from absl import flags

from experiments import command_line
from fl_research.federation import addresses, flower_processes, keys, local_federation
from fl_research.federation.processes import Processes
from fl_research.registry import UsageError

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_KEYS = {'keys': 'folder of keys and certificates'}
_FLOWER = {'flower': "Flower's environment; .flower/ of this repository when left out"}
_PORT = {'port': 'the one port that sites need; 9092 when left out'}

FLAGS: Mapping[str, Mapping[str, str]] = {
  'keys': {
    **_KEYS,
    'hosts': "names and addresses of the engine's machine, with commas between: a certificate",
    'sites': 'names, with commas between: a key for each',
    'experimenters': 'names, with commas between: a key for each',
    'days': 'how long certificates are valid; 365 when left out',
  },
  'superlink': {
    **_KEYS,
    'engine': 'where the engine listens for the ServerApp: unix:/path/of/a.sock',
    'folder': 'for what Flower writes down; superlink/ when left out',
    'host': 'address on which to listen; 0.0.0.0, all of this machine, when left out',
    **_PORT,
    **_FLOWER,
  },
  'supernode': {
    'site': "the site's name",
    'socket': "where the site's program listens: unix:/path/of/a.sock, or 127.0.0.1:PORT",
    'token_file': 'of a port: what both ends must know',
    'key': "the site's private key",
    'certificate': "ca.crt of the engine's side",
    'superlink': 'HOST:PORT of the SuperLink',
    'folder': 'for what Flower needs; supernode/ when left out',
    **_FLOWER,
  },
  'local': {
    'folder': 'where everything goes: keys, sockets, logs; a short path',
    'sites': 'names, with commas between',
    'site': 'command of a site, with {site}, {folder} and {socket} where it is to be told of them',
    'train': 'command of the engine, with {folder} and {federation}',
    **_PORT,
    **_FLOWER,
  },
}
"""The flags of every command, and what they are."""

_NEEDED = {
  'keys': ('keys',),
  'superlink': ('keys', 'engine'),
  'supernode': ('site', 'socket', 'key', 'certificate', 'superlink'),
  'local': ('folder', 'sites', 'site', 'train'),
}

_SUMMARIES = {
  'keys': "makes certificates for the engine's side, and keys; never overwrites any",
  'superlink': "runs Flower's SuperLink beside the engine, until it is stopped",
  'supernode': "connects a site to the SuperLink, until it is stopped; runs nobody else's code",
  'local': 'brings up SuperLink, sites and engine on this machine, and takes them down again',
}


class _Flags:
  """The values of a command's flags, with what they are when left out."""

  def __init__(self, command: str, argv: Sequence[str]):
    self._values = flags.FlagValues()
    command_line.parse_own(self._values, argv, FLAGS[command], _NEEDED[command])

  def text(self, name: str, default: str = '') -> str:
    """A text."""
    return self._values[name].value or default

  def path(self, name: str, default: str = '') -> pathlib.Path:
    """A path that stays the same when the working folder changes."""
    return pathlib.Path(self.text(name, default)).expanduser().absolute()

  def number(self, name: str, default: int, largest: int) -> int:
    """A number of at least 1."""
    text = self.text(name, str(default))
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= largest:
      raise UsageError(f'--{name}={text}: accepted is a whole number from 1 to {largest}')
    return int(text)

  def names(self, name: str) -> list[str]:
    """What stands between commas."""
    return [each for each in self.text(name).split(',') if each]

  @property
  def flower(self) -> pathlib.Path:
    """Flower's environment."""
    return self.path('flower', str(_ROOT / '.flower'))


def make_keys(values: _Flags) -> int:
  """The command `keys`."""
  folder, hosts = values.path('keys'), values.names('hosts')
  wanted = [
    (kind, name) for kind in (keys.SITES, keys.EXPERIMENTERS) for name in values.names(kind)
  ]
  if not hosts and not wanted:
    raise UsageError('--hosts, --sites, --experimenters: one of them says what is to be made')
  if hosts:
    days = values.number('days', 365, 36500)
    # The command `flwr` reaches SuperLink from the same machine.
    hosts = list(dict.fromkeys([*hosts, '127.0.0.1']))
    now = datetime.datetime.now(datetime.UTC)
    print(*keys.make_certificates(folder, hosts, days, now), sep='\n')
  for kind, name in wanted:
    print(keys.make_key(folder, kind, name))
  return 0


def run_superlink(values: _Flags) -> int:
  """The command `superlink`."""
  folder = values.path('folder', 'superlink')
  place = flower_processes.Place(
    flower=values.flower,
    keys=values.path('keys'),
    folder=folder,
    host=values.text('host', '0.0.0.0'),
    port=values.number('port', 9092, 65535),
    engine=_absolute('--engine', values.text('engine')),
  )
  with _until_stopped(), Processes(folder / 'logs') as processes:
    superlink = flower_processes.SuperLink(place, processes, command_line.say)
    while True:
      time.sleep(2)
      superlink.tend()


def run_supernode(values: _Flags) -> int:
  """The command `supernode`, which becomes the node."""
  certificate, key = values.path('certificate'), values.path('key')
  for path in (certificate, key):
    if not os.access(path, os.R_OK):
      raise UsageError(f'{path}: cannot be read')
  warning = keys.check_valid(certificate, datetime.datetime.now(datetime.UTC))
  if warning:
    command_line.say(warning)
  address = _absolute('--socket', values.text('socket'))
  token = str(values.path('token_file')) if values.text('token_file') else ''
  command = flower_processes.node_command(
    values.flower, values.text('superlink'), certificate, key, values.text('site'), address, token
  )
  environment = flower_processes.environment(values.path('folder', 'supernode'), values.flower)
  os.execve(command[0], command, {**os.environ, **environment})


def run_local(values: _Flags) -> int:
  """The command `local`; gives the engine's exit code."""
  federation = local_federation.LocalFederation(
    folder=values.path('folder'),
    sites=values.names('sites'),
    flower=values.flower,
    port=values.number('port', 9092, 65535),
    site_command=_split('--site', values.text('site')),
    say=command_line.say,
  )
  engine = _split('--train', values.text('train'))
  with _until_stopped():
    return federation.run(engine)


COMMANDS: Mapping[str, Callable[[_Flags], int]] = {
  'keys': make_keys,
  'superlink': run_superlink,
  'supernode': run_supernode,
  'local': run_local,
}


def _absolute(flag: str, text: str) -> str:
  address = addresses.parse(flag, text)
  if isinstance(address.target, pathlib.Path):
    return addresses.parse(flag, f'unix:{address.target.absolute()}').text
  return text


def _split(flag: str, text: str) -> list[str]:
  """The words of a command; `python` is this one."""
  try:
    words = shlex.split(text)
  except ValueError as error:
    raise UsageError(f'{flag}: is no command ({error})') from error
  return [sys.executable if word == 'python' else word for word in words]


@contextlib.contextmanager
def _until_stopped() -> Iterator[None]:
  """Makes SIGTERM and a closed terminal end the program as Ctrl-C does, with all that it began."""

  def stop(*_) -> None:
    raise KeyboardInterrupt

  before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _help(command: str) -> None:
  if command:
    lines = [
      line for name, text in FLAGS[command].items() for line in command_line.flag_help(name, text)
    ]
    command_line.print_help(f'experiments.federation {command}', _SUMMARIES[command], {'': lines})
  else:
    lines = [f'  {name}: {text}' for name, text in _SUMMARIES.items()]
    command_line.print_help('experiments.federation COMMAND', __doc__ or '', {'Commands': lines})


def main(argv: Sequence[str]) -> int:
  """Runs a command."""
  command = argv[1] if len(argv) > 1 else ''
  if command_line.wants_help(argv):
    _help(command if command in COMMANDS else '')
    return 0
  if command not in COMMANDS:
    raise UsageError(f'{command or "nothing"}: accepted is one of {", ".join(COMMANDS)}')
  return COMMANDS[command](_Flags(command, [argv[0], *argv[2:]]))


if __name__ == '__main__':
  command_line.run_main(main)
