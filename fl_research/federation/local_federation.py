"""All programs of a federation on one machine: TLS, keys and sockets as on several."""

from collections.abc import Callable, Mapping, Sequence
import datetime
import os
import pathlib
import subprocess
import time

from fl_research.federation import addresses, flower_processes, keys
from fl_research.federation.processes import Processes
from fl_research.registry import UsageError

_HOST = '127.0.0.1'
_DAYS = 365
_START_SECONDS = 300.0
_TENDING_SECONDS = 2.0


class LocalFederation:
  """SuperLink, sites with their nodes, and an engine.

  Args:
    folder: where everything goes; made where there is none.
    sites: names.
    flower: Flower's environment.
    port: for SuperLink, on this machine only.
    site_command: of a site; in its words `{site}` is the name, `{folder}` the site's folder and
      `{socket}` where it must listen.
    say: is told what happens, in lines.

  Raises:
    UsageError: there are no sites, or the folder's path is too long for sockets.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    sites: Sequence[str],
    flower: pathlib.Path,
    port: int,
    site_command: Sequence[str],
    say: Callable[[str], None],
  ):
    if not sites or len(set(sites)) < len(sites):
      raise UsageError('--sites: name at least one site, and none twice')
    self._folder, self._sites, self._flower, self._port = folder, tuple(sites), flower, port
    self._site_command, self._say = tuple(site_command), say
    self._engine = addresses.parse('--folder', f'unix:{folder / "engine.sock"}')
    self._sockets = {
      site: addresses.parse('--folder', f'unix:{folder / site}.sock') for site in sites
    }

  @property
  def federation(self) -> str:
    """The value of `--federation` for the engine."""
    return f'flower:{self._engine.text},{",".join(self._sites)}'

  def run(self, engine_command: Sequence[str]) -> int:
    """Brings all of it up, and takes it down when the engine has ended; gives its exit code.

    Args:
      engine_command: in its words `{folder}` is the folder and `{federation}` as above.

    Raises:
      UsageError: a program does not start, or a site has ended.
    """
    self._make_folder()
    self._make_keys()
    with Processes(self._folder / 'logs') as processes:
      for site in self._sites:
        self._start_site(processes, site)
      superlink = flower_processes.SuperLink(self._place(), processes, self._say)
      self._check(processes)
      for site in self._sites:
        self._start_node(processes, site)
      for site in self._sites:
        self._await(processes, site)
      words = {'folder': self._folder, 'federation': self.federation}
      engine = subprocess.Popen([_fill(word, words) for word in engine_command])
      processes.watch(engine)
      try:
        return self._tend(processes, superlink, engine)
      finally:
        engine.terminate()
        engine.wait()

  def _make_folder(self) -> None:
    """Makes the folder, in which nobody else can make or read anything."""
    self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if self._folder.stat().st_uid != os.getuid():
      raise UsageError(f'--folder={self._folder}: belongs to another user')
    self._folder.chmod(0o700)

  def _make_keys(self) -> None:
    folder = self._folder / 'keys'
    if not (folder / f'{keys.SUPERLINK}.crt').exists():
      keys.make_certificates(folder, [_HOST], _DAYS, datetime.datetime.now(datetime.UTC))
    for site in self._sites:
      if not (folder / keys.SITES / site).exists():
        keys.make_key(folder, keys.SITES, site)

  def _place(self) -> flower_processes.Place:
    return flower_processes.Place(
      flower=self._flower,
      keys=self._folder / 'keys',
      folder=self._folder / 'flower',
      host=_HOST,
      port=self._port,
      engine=self._engine.text,
    )

  def _start_site(self, processes: Processes, site: str) -> None:
    folder = self._folder / site
    folder.mkdir(exist_ok=True)
    words = {'site': site, 'folder': folder, 'socket': self._sockets[site].text}
    processes.start(f'site-{site}', [_fill(word, words) for word in self._site_command])

  def _start_node(self, processes: Processes, site: str) -> None:
    command = flower_processes.node_command(
      self._flower,
      f'{_HOST}:{self._port}',
      self._folder / 'keys' / f'{keys.CA}.crt',
      self._folder / 'keys' / keys.SITES / site,
      site,
      self._sockets[site].text,
    )
    environment = flower_processes.environment(self._folder / 'flower', self._flower)
    processes.start(f'node-{site}', command, environment)

  def _await(self, processes: Processes, site: str) -> None:
    """Waits until a site listens."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
      self._check(processes)
      try:
        addresses.connect(self._sockets[site], None, 5.0).close()
        return
      except OSError:
        time.sleep(0.2)
    raise UsageError(f'site {site} does not listen after {_START_SECONDS:.0f} s')

  def _check(self, processes: Processes) -> None:
    """Ends everything where a site has ended, as nothing can go on without its data."""
    for name, code in processes.ended().items():
      if name.startswith('site-'):
        raise UsageError(
          f'{name} has ended with code {code}: {processes.last_line(name)} '
          f'({processes.log(name)} says more)'
        )
      if name.startswith('node-'):
        self._say(f'{name} has ended with code {code}, and is started again')
        self._start_node(processes, name.removeprefix('node-'))

  def _tend(
    self, processes: Processes, superlink: flower_processes.SuperLink, engine: subprocess.Popen
  ) -> int:
    while True:
      try:
        return engine.wait(_TENDING_SECONDS)
      except subprocess.TimeoutExpired:
        self._check(processes)
        superlink.tend()


def _fill(word: str, values: Mapping[str, object]) -> str:
  """A word with its places filled in."""
  for name, value in values.items():
    word = word.replace(f'{{{name}}}', str(value))
  return word
