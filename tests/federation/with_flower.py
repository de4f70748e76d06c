"""What happens to a federation when a part of it fails, tried with Flower itself.

`make test-federation` runs it, in some minutes. SuperLink, nodes and sites are processes, with TLS
and keys; the engine is this one.
"""

import collections
import contextlib
import datetime
import http.client
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from fl_research.federation import addresses, flower_processes, keys, process_tree
from fl_research.federation.flower import Flower
from fl_research.federation.processes import Processes
from fl_research.federation.transport import Lost
from fl_research.registry import UsageError

ROOT = pathlib.Path(__file__).parents[2]
FLOWER = ROOT / '.flower'
SITES = ('a', 'b', 'c')

pytestmark = pytest.mark.skipif(not (FLOWER / 'bin' / 'flwr').exists(), reason='make flower')


def now() -> datetime.datetime:
  return datetime.datetime.now(datetime.UTC)


def free_port() -> int:
  with socket.create_server(('127.0.0.1', 0)) as probe:
    return probe.getsockname()[1]


class Federation:
  """Three sites that repeat what they are told."""

  def __init__(self, folder: pathlib.Path, processes: Processes):
    self.folder, self.processes, self.port = folder, processes, free_port()
    self.said: list[str] = []
    self.keys = folder / 'keys'
    keys.make_certificates(self.keys, ['127.0.0.1'], 2, now())
    for site in SITES:
      keys.make_key(self.keys, keys.SITES, site)
      self.start_site(site)
    self.engine_at = addresses.parse('--engine', f'unix:{folder}/engine.sock')
    place = flower_processes.Place(
      FLOWER, self.keys, folder / 'flower', '127.0.0.1', self.port, self.engine_at.text
    )
    self.superlink = flower_processes.SuperLink(place, processes, self.said.append)
    for site in SITES:
      self.start_node(site)
    self.engine = self.new_engine()

  def new_engine(self) -> Flower:
    engine = Flower(self.engine_at, awaited=SITES)
    assert engine.sites() == SITES
    return engine

  def start_site(self, site: str) -> None:
    command = [sys.executable, '-m', 'tests.federation.echo_site']
    place = [f'--listen=unix:{self.folder}/{site}.sock', f'--log={self.folder}/{site}.log']
    self.processes.start(f'site-{site}', [*command, *place], {'PYTHONPATH': str(ROOT)})

  @property
  def variables(self) -> dict[str, str]:
    return flower_processes.environment(self.folder / 'flower', FLOWER)

  def node_command(self, site: str, certificate=None, key_of: str = '') -> list[str]:
    return flower_processes.node_command(
      FLOWER,
      f'127.0.0.1:{self.port}',
      certificate or self.keys / 'ca.crt',
      self.folder / 'keys' / keys.SITES / (key_of or site),
      site,
      f'unix:{self.folder}/{site}.sock',
    )

  def start_node(self, site: str, **arguments) -> None:
    self.processes.start(f'node-{site}', self.node_command(site, **arguments), self.variables)

  def kill(self, name: str) -> None:
    os.kill(self.processes.pid(name), signal.SIGKILL)

  def computed(self, request: bytes) -> collections.Counter:
    """How often each site has computed a request."""
    return collections.Counter(
      site
      for site in SITES
      if (self.folder / f'{site}.log').exists()
      for line in (self.folder / f'{site}.log').read_text().splitlines()
      if line == repr(request[:64])
    )

  def await_start(self, request: bytes) -> None:
    """Waits until all sites are at work on a request."""
    wait_until(lambda: len(self.computed(request)) == len(SITES))


def wait_until(holds, seconds: float = 120.0) -> None:
  end = time.monotonic() + seconds
  while not holds():
    assert time.monotonic() < end
    time.sleep(0.05)


@pytest.fixture(scope='module')
def federation():
  with tempfile.TemporaryDirectory(prefix='fl', dir='/tmp') as name:
    folder = pathlib.Path(name)
    with Processes(folder / 'logs') as processes:
      found = Federation(folder, processes)
      yield found
      found.engine.close()


class Asked:
  """A request to all sites, whose answers another thread waits for."""

  def __init__(self, engine: Flower, request: bytes, deadline=None):
    self._answers: dict = {}
    self.began = time.monotonic()
    take = lambda: self._answers.update(engine.ask({site: request for site in SITES}, deadline))
    self._thread = threading.Thread(target=take, daemon=True)
    self._thread.start()

  def answers(self, meanwhile=lambda: None) -> dict:
    while self._thread.is_alive():
      assert time.monotonic() < self.began + 240
      meanwhile()
      self._thread.join(0.5)
    print(f'{time.monotonic() - self.began:.1f} s')
    return self._answers


def ask(federation, request: bytes, deadline=None) -> dict:
  return Asked(federation.engine, request, deadline).answers()


def to_all(request: bytes) -> dict:
  return {site: request for site in SITES}


@pytest.mark.parametrize('size', [0, 1, 1 << 20, 12 << 20])
def test_messages_arrive(federation, size):
  request = os.urandom(size)
  assert ask(federation, request) == to_all(request)


def test_a_slow_site_says_that_it_is_at_work(federation):
  request = b'wait:13:slow'
  assert ask(federation, request) == to_all(request)
  assert federation.computed(request) == {'a': 1, 'b': 1, 'c': 1}


def test_deadline_and_the_same_request_again(federation):
  request = b'wait:6:late'
  assert ask(federation, request, 2.0) == to_all(Lost('there was no reply within 2 s'))
  assert ask(federation, request) == to_all(request)
  assert federation.computed(request) == {'a': 1, 'b': 1, 'c': 1}


def test_site_killed_in_a_round_and_started_again(federation):
  request = b'wait:8:site'
  asked = Asked(federation.engine, request)
  federation.await_start(request)
  federation.kill('site-b')
  lost = Lost('its program does not answer: it ended the connection')
  assert asked.answers() == {**to_all(request), 'b': lost}
  answer = dict(federation.engine.ask({'b': b'again'}, None))['b']
  assert isinstance(answer, Lost) and 'nobody listens at unix:' in answer.reason
  federation.start_site('b')
  wait_until(lambda: dict(federation.engine.ask({'b': b'again'}, None)) == {'b': b'again'})


def test_node_killed_in_a_round_and_started_again(federation):
  request = b'wait:8:node'
  asked = Asked(federation.engine, request)
  federation.await_start(request)
  federation.kill('node-b')
  federation.start_node('b')
  assert asked.answers() == to_all(request)
  assert federation.computed(request) == {'a': 1, 'b': 1, 'c': 1}


def test_node_killed_for_good_is_lost(federation):
  request = b'wait:8:gone'
  asked = Asked(federation.engine, request)
  federation.await_start(request)
  federation.kill('node-b')
  answers = asked.answers()
  lost = answers.pop('b')
  assert answers == {'a': request, 'c': request}
  assert isinstance(lost, Lost) and 'not connected' in lost.reason
  federation.start_node('b')
  assert Flower.sites(federation.engine) == SITES
  assert ask(federation, request) == to_all(request)


def test_superlink_killed_in_a_round(federation):
  request = b'wait:8:link'
  asked = Asked(federation.engine, request)
  federation.await_start(request)
  federation.kill('superlink')
  answers = asked.answers(federation.superlink.tend)
  assert any(line.startswith('superlink has ended') for line in federation.said)
  if answers != to_all(request):  # those that took too long to connect again
    assert {answer for answer in answers.values() if answer != request} <= {
      answer for answer in answers.values() if isinstance(answer, Lost)
    }
    assert federation.engine.sites() == SITES
    assert ask(federation, request) == to_all(request)
  assert federation.computed(request) == {'a': 1, 'b': 1, 'c': 1}


def test_gate_killed_in_a_round(federation):
  request = b'wait:8:gate'
  asked = Asked(federation.engine, request)
  federation.await_start(request)
  federation.kill('gate')
  assert asked.answers(federation.superlink.tend) == to_all(request)
  assert federation.said[-1].startswith('gate has ended')
  assert federation.computed(request) == {'a': 1, 'b': 1, 'c': 1}


@pytest.mark.parametrize(
  'path, status',
  [
    ('/v1/control/list-runs', 404),
    ('/v1/control/register-node', 404),
    ('/v1/runtime/pull-messages', 404),
    ('/v1/fleet/../control/list-runs', 404),
    ('/v1/fleet/%2e%2e%2fcontrol', 404),
    ('/docs', 404),
    ('/', 404),
    ('/v1/fleet/pull-messages', 401),
    ('/v1/fleet/register-node', 401),
  ],
)
def test_gate_lets_through_what_nodes_sign(federation, path, status):
  context = ssl.create_default_context(cafile=str(federation.keys / 'ca.crt'))
  connection = http.client.HTTPSConnection('127.0.0.1', federation.port, context=context)
  with contextlib.closing(connection):
    connection.request('POST', path, b'', {'Content-Type': 'application/protobuf'})
    assert connection.getresponse().status == status


def test_server_app_killed_in_a_round(federation):
  request = b'wait:8:app'
  asked = Asked(federation.engine, request)
  federation.await_start(request)
  superlink = federation.processes.pid('superlink')
  for process in process_tree.descendants(superlink):
    if 'flwr-serverapp' in process.command:
      process_tree.kill(process)
  asked.answers(federation.superlink.tend)
  wait_until(lambda: federation.superlink.tend() or 'ServerApp has ended' in federation.said[-1])
  assert federation.engine.sites() == SITES
  assert ask(federation, request) == to_all(request)
  assert federation.computed(request) == {'a': 1, 'b': 1, 'c': 1}


def test_engine_started_again(federation):
  request = b'wait:5:engine'
  asked = Asked(federation.engine, request, 1.0)
  federation.await_start(request)
  assert set(asked.answers().values()) == {Lost('there was no reply within 1 s')}
  federation.engine.close()
  federation.engine = federation.new_engine()
  assert ask(federation, b'new engine') == to_all(b'new engine')


def test_too_long_a_message_is_refused_before_it_is_sent(federation):
  federation.engine._limit = 1000
  try:
    with pytest.raises(UsageError, match='a message of 1,001 bytes is too long, at most 1,000'):
      ask_now = federation.engine.ask({'a': bytes(1001)}, None)
      next(ask_now)
  finally:
    federation.engine._limit = 1 << 30


def said_at_the_end(federation, name: str) -> str:
  wait_until(lambda: name in federation.processes.ended())
  return federation.processes.log(name).read_text()


def test_unknown_key_is_refused(federation):
  # Made after SuperLink was told which keys there are.
  keys.make_key(federation.keys, keys.SITES, 'd')
  federation.start_node('d')
  wait_until(lambda: 'does not let this key in' in federation.processes.last_line('node-d'))
  federation.kill('node-d')
  assert ask(federation, b'still here') == to_all(b'still here')


CLOCK_AHEAD = """
import datetime
from flwr.supernode import node_auth_http_interceptor
from fl_research.federation.flower_app import site_node
soon = lambda: datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=1)
node_auth_http_interceptor.now = soon
site_node.main()
"""


def test_clock_that_is_ahead(federation):
  keys.make_key(federation.keys, keys.SITES, 'f')
  python, _, _, *rest = federation.node_command('f')
  federation.processes.start('node-f', [python, '-c', CLOCK_AHEAD, *rest], federation.variables)
  wait_until(lambda: '(HTTP 401)' in federation.processes.last_line('node-f'))
  assert 'or the clocks differ' in federation.processes.last_line('node-f')
  federation.kill('node-f')


def test_node_that_speaks_for_another_site(federation):
  federation.processes.stop('node-a')
  command = federation.node_command('b', key_of='a')
  federation.processes.start('node-a', command, federation.variables)
  reasons: list[str] = []

  def is_refused() -> bool:
    answer = dict(federation.engine.ask({'a': b'other'}, None))['a']
    reasons.append(answer.reason if isinstance(answer, Lost) else 'answered')
    return 'is there for a site named' in reasons[-1]

  wait_until(is_refused)
  assert 'answered' not in reasons
  federation.processes.stop('node-a')
  federation.start_node('a')
  wait_until(lambda: dict(federation.engine.ask({'a': b'other'}, None)) == {'a': b'other'})


def test_certificate_of_another_authority_is_refused(federation):
  other = federation.folder / 'elsewhere'
  keys.make_certificates(other, ['127.0.0.1'], 2, now())
  federation.start_node('e', certificate=other / 'ca.crt', key_of='a')
  assert 'cannot prove that it is what' in said_at_the_end(federation, 'node-e')
  assert ask(federation, b'still here') == to_all(b'still here')


def test_certificate_of_tomorrow(federation):
  folder = federation.folder / 'tomorrow'
  keys.make_certificates(folder, ['127.0.0.1'], 2, now() + datetime.timedelta(days=1))
  keys.make_key(folder, keys.SITES, 'a')
  place = flower_processes.Place(
    FLOWER, folder, folder / 'flower', '127.0.0.1', free_port(), 'unix:none'
  )
  with pytest.raises(UsageError, match=r'ca\.crt: is valid from .*, and by the clock'):
    flower_processes.SuperLink(place, federation.processes, print)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_local_takes_everything_down(tmp_path, number):
  with tempfile.TemporaryDirectory(prefix='fl', dir='/tmp') as folder:
    process = subprocess.Popen(
      [
        *(sys.executable, '-m', 'experiments.federation', 'local', f'--folder={folder}'),
        *(f'--port={free_port()}', '--sites=a,b', f'--flower={FLOWER}'),
        '--site=python -m tests.federation.echo_site --listen={socket}',
        '--train=python -c "import time; print(\'{federation}\', flush=True); time.sleep(600)"',
      ],
      cwd=ROOT,
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
      stdout=subprocess.PIPE,
      text=True,
    )
    assert process.stdout.readline() == f'flower:unix:{folder}/engine.sock,a,b\n'
    begun = process_tree.descendants(process.pid)
    assert len(begun) >= 7
    process.send_signal(number)
    assert process.wait(60) == 130
    assert not [each for each in begun if process_tree.is_alive(each)]
