"""Flower's programs, as a federation needs them: commands, environment, and SuperLink kept alive.

SuperLink itself can be reached from its own machine only; nodes reach the gate before it.
Nothing of a SuperLink is worth keeping: when it has ended, a new one is told the sites' keys again,
and a new ServerApp is given what is still open by the engine.
"""

from collections.abc import Callable
import datetime
import json
import os
import pathlib
import socket
import ssl
import subprocess
import time
from typing import NamedTuple

import fl_research
from fl_research.federation import keys, process_tree
from fl_research.federation.processes import Processes
from fl_research.registry import UsageError

_UP_SECONDS = 60.0
_PAUSE = 2.0
_APP_SECONDS = 40.0
"""How long a ServerApp may be missing before a new one is started."""

_NAME, _GATE = 'superlink', 'gate'
_PROGRAM = 'flower-superlink'
_HERE, _HOST = 'here', '127.0.0.1'


class Place(NamedTuple):
  """Where a SuperLink is, and what it needs.

  Attributes:
    flower: the environment that `make flower` has made.
    keys: the folder that `keys` has filled.
    folder: for what Flower writes down.
    host: the address on which the gate listens, 0.0.0.0 for all of the machine's.
    port: the one port that sites need.
    engine: where the engine listens, an absolute address.
  """

  flower: pathlib.Path
  keys: pathlib.Path
  folder: pathlib.Path
  host: str
  port: int
  engine: str


def program(flower: pathlib.Path, name: str) -> str:
  """A program of Flower's environment.

  Raises:
    UsageError: it is not there.
  """
  path = flower / 'bin' / name
  if not path.exists():
    raise UsageError(f'--flower={flower}: there is no Flower; `make flower` puts it into .flower/')
  return str(path)


def environment(folder: pathlib.Path, flower: pathlib.Path) -> dict[str, str]:
  """The variables of Flower's programs: they see our package, of our environment nothing else.

  They are told to send no telemetry, and not to look for newer versions.
  """
  path = folder / 'python'
  path.mkdir(parents=True, exist_ok=True)
  link = path / 'fl_research'
  target = pathlib.Path(fl_research.__file__).parent
  if not link.is_symlink() or link.resolve() != target:
    link.unlink(missing_ok=True)
    link.symlink_to(target)
  return {
    'FLWR_HOME': str(folder / 'home'),
    'FLWR_TELEMETRY_ENABLED': '0',
    'FLWR_DISABLE_UPDATE_CHECK': '1',
    # A proxy is for the way to other machines.
    'NO_PROXY': ','.join(filter(None, (os.environ.get('NO_PROXY', ''), _HOST))),
    'PATH': f'{flower / "bin"}{os.pathsep}{os.environ.get("PATH", os.defpath)}',
    'PYTHONPATH': str(path),
  }


def node_command(
  flower: pathlib.Path,
  superlink: str,
  certificate: pathlib.Path,
  key: pathlib.Path,
  site: str,
  address: str,
  token_file: str = '',
) -> list[str]:
  """The command of a site's node, see `flower_app.site_node`."""
  return [
    program(flower, 'python'),
    '-m',
    'fl_research.federation.flower_app.site_node',
    f'--superlink={superlink}',
    f'--root-certificates={certificate}',
    f'--key={key}',
    f'--site={site}',
    f'--socket={address}',
    f'--token-file={token_file}',
  ]


class SuperLink:
  """A SuperLink with TLS that lets in the sites whose keys are in the folder, gate and ServerApp.

  Args:
    place: where it is.
    processes: what it is started among.
    say: is told what happens, in lines.

  Raises:
    UsageError: Flower, a key or a certificate is missing or cannot be used, or SuperLink does not
      start.
  """

  def __init__(self, place: Place, processes: Processes, say: Callable[[str], None]):
    self._place, self._processes, self._say = place, processes, say
    self._publics = sorted((place.keys / keys.SITES).glob('*.pub'))
    for public in self._publics:
      keys.check_name(str(public), public.stem)
    if not self._publics:
      raise UsageError(f'{place.keys / keys.SITES}: there is no .pub file of any site')
    now = datetime.datetime.now(datetime.UTC)
    for name in (keys.CA, keys.SUPERLINK):
      warning = keys.check_valid(place.keys / f'{name}.crt', now)
      if warning:
        say(warning)
    program(place.flower, _PROGRAM)
    self._environment = environment(place.folder, place.flower)
    (place.folder / 'home').mkdir(exist_ok=True)
    if _is_taken(place.host, place.port):
      raise UsageError(f'--port={place.port}: another program listens there')
    self._start()

  def _start(self) -> None:
    place = self._place
    self._inner_port = _free_port()
    configuration = place.folder / 'home' / 'config.toml'
    configuration.write_text(_configuration(place, self._inner_port))
    command = [
      program(place.flower, _PROGRAM),
      f'--ssl-ca-certfile={self._certificate(keys.CA)}',
      f'--ssl-certfile={self._certificate(keys.SUPERLINK)}',
      f'--ssl-keyfile={place.keys / keys.SUPERLINK}.key',
      '--enable-supernode-auth',
      f'--host={_HOST}',
      f'--port={self._inner_port}',
      '--disable-runtime-dependency-installation',
    ]
    self._processes.start(_NAME, command, self._environment)
    self._await(_NAME, _HOST, self._inner_port)
    self._names = [f'{self._register(public)}={public.stem}' for public in self._publics]
    self._run_app()
    self._start_gate()
    sites = ', '.join(public.stem for public in self._publics)
    self._say(f'SuperLink is up on {place.host}:{place.port}, and lets in {sites}')

  def _start_gate(self) -> None:
    place = self._place
    command = [
      *(program(place.flower, 'python'), '-m', 'fl_research.federation.flower_app.gate'),
      f'--host={place.host}',
      f'--port={place.port}',
      f'--superlink={_HOST}:{self._inner_port}',
      f'--certificate={self._certificate(keys.SUPERLINK)}',
      f'--key={place.keys / keys.SUPERLINK}.key',
      f'--authority={self._certificate(keys.CA)}',
    ]
    self._processes.stop(_GATE)
    self._processes.start(_GATE, command, self._environment)
    self._await(_GATE, place.host, place.port)

  def _certificate(self, name: str) -> str:
    return str(self._place.keys / f'{name}.crt')

  def _await(self, name: str, host: str, port: int) -> None:
    """Waits until a program speaks TLS, with a certificate of the authority."""
    end = time.monotonic() + _UP_SECONDS
    while not self._answers(host, port):
      if name in self._processes.ended() or time.monotonic() > end:
        last, log = self._processes.last_line(name), self._processes.log(name)
        raise UsageError(f'{name} has not started: {last} ({log} says more)')
      time.sleep(0.2)

  def _register(self, public: pathlib.Path) -> int:
    """Lets in a site, by its key; gives the number that its node will have."""
    return int(self._flwr('supernode', 'register', str(public), _HERE)['node-id'])

  def _run_app(self) -> None:
    app = pathlib.Path(fl_research.__file__).parent / 'federation' / 'flower_app'
    configuration = f'engine="{self._place.engine}" names="{",".join(self._names)}"'
    self._flwr('run', str(app), _HERE, '--run-config', configuration)
    self._app_seen = time.monotonic()

  def _answers(self, host: str, port: int) -> bool:
    context = ssl.create_default_context(cafile=self._certificate(keys.CA))
    # By which of its names a machine is reached from elsewhere cannot be tried here.
    context.check_hostname = False
    here = _HOST if host == '0.0.0.0' else host
    try:
      with (
        socket.create_connection((here, port), timeout=2) as connection,
        context.wrap_socket(connection),
      ):
        return True
    except ssl.SSLCertVerificationError as error:
      raise UsageError(f'{self._certificate(keys.SUPERLINK)}: {error.verify_message}') from error
    except OSError:
      return False

  def _flwr(self, *arguments: str) -> dict:
    command = [program(self._place.flower, 'flwr'), *arguments, '--format', 'json']
    done = subprocess.run(
      command,
      env={**os.environ, **self._environment},
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
    )
    try:
      answer = json.loads(done.stdout)
    except ValueError:
      answer = {}
    if done.returncode or not answer.get('success'):
      reason = answer.get('error-message') or (done.stderr or done.stdout).strip()
      raise UsageError(f'flwr {arguments[0]}: {" ".join(reason.split())}')
    return answer

  def _has_app(self) -> bool:
    started = process_tree.descendants(self._processes.pid(_NAME))
    return any('flwr-serverapp' in process.command for process in started)

  def tend(self) -> None:
    """Starts anew what has ended; to be called every few seconds."""
    ended = self._processes.ended()
    for name in (_NAME, _GATE):
      if name in ended:
        self._say(f'{name} has ended: {self._processes.last_line(name)}; it is started again')
    if _NAME in ended:
      time.sleep(_PAUSE)
      self._start()
    elif _GATE in ended:
      self._start_gate()
    elif self._has_app():
      self._app_seen = time.monotonic()
    elif time.monotonic() > self._app_seen + _APP_SECONDS:
      self._say('the ServerApp has ended; it is started again')
      self._run_app()


def _configuration(place: Place, port: int) -> str:
  """What tells the command `flwr` of the SuperLink on this machine."""
  certificate = json.dumps(str(place.keys / f'{keys.CA}.crt'))
  return (
    f'[superlink]\ndefault = "{_HERE}"\n\n[superlink.{_HERE}]\n'
    f'address = "{_HOST}:{port}"\nroot-certificates = {certificate}\n'
  )


def _is_taken(host: str, port: int) -> bool:
  try:
    socket.create_server((host, port)).close()
  except OSError:
    return True
  return False


def _free_port() -> int:
  with socket.create_server((_HOST, 0)) as probe:
    return probe.getsockname()[1]
