"""Two sites behind sockets, with guards that their owners have told what may run."""

import contextlib
import dataclasses
import json
import threading
import time

import numpy as np
import pytest

from fl_research import settings as settings_lib
from fl_research.federation import (
  addresses,
  audit_log,
  client_graph,
  engine,
  engine_data,
  guard,
  local_socket,
  policy,
  requests,
  site_data,
)
from fl_research.federation.engine import SiteError
from fl_research.federation.site import Site
from fl_research.training import experiment, run_data
from tests.federation import runs

ALLOWS = policy.Policy(decision=policy.DecisionRules('allow'))


@contextlib.contextmanager
def _sites(folder, rules, of_b=None):
  """Two sites, each with three clients; gives their guards and what `--federation` is."""
  own = settings_lib.from_flags({n: runs.FLAGS[n] for n in ('task', 'num_clients', 'seed')})
  ids = run_data.load(own).train.ids
  guards, named = {}, []
  with contextlib.ExitStack() as stack:
    for name, clients in (('a', ids[:3]), ('b', ids[3:])):
      guards[name] = guard.Guard(folder / name, of_b if of_b and name == 'b' else rules)
      data = site_data.SiteData(own, clients)
      data.load({})
      site = Site(name, data, guards[name], folder / name)
      address = addresses.parse('--listen', f'unix:{folder / name}.sock')
      stack.callback(site.close)
      stack.enter_context(local_socket.Server(address, site.handle))
      named.append(f'{name}={address.text}')
    yield guards, f'direct:{",".join(named)}'


def _settings(tmp_path, federation, **flags):
  settings = runs.settings(tmp_path, **{'experiment_name': 'deployed', **flags})
  return dataclasses.replace(settings, runtime='federation', federation=federation, num_clients=0)


def _run(settings, interrupted=lambda: ''):
  data = engine_data.load(settings)
  with contextlib.closing(data.sites):
    return experiment.run(settings, interrupted, data)


def _request(own):
  (request,) = own.requests.all()
  return request


def test_a_run_over_sockets(tmp_path):
  simulated = experiment.run(
    runs.settings(tmp_path, experiment_name='simulated', algorithm='scaffold'), lambda: ''
  )
  with _sites(tmp_path / 'sites', ALLOWS) as (guards, federation):
    deployed = _run(_settings(tmp_path, federation, algorithm='scaffold'))
  models = [np.load(outcome.folder.path / 'model.npz') for outcome in (simulated, deployed)]
  for weight in models[0].files:
    np.testing.assert_array_equal(models[0][weight], models[1][weight])
  manifest = json.loads((deployed.folder.path / 'manifest.json').read_text())
  for name, own in guards.items():
    # Nothing of it is open any more.
    assert (_request(own).status, _request(own).reasons) == ('withdrawn', ('It is over.',))
    assert not audit_log.verify(own.log.path)
    left = [e for e in audit_log.entries(own.log.path) if e['what'] in ('leaves', 'surveyed')]
    assert {e['kind'] for e in left} == {'counts', 'updates', 'evaluation sums'}
    # What goes with the updates is named too.
    of_updates = [e['beside'] for e in left if e['kind'] == 'updates']
    assert of_updates == [['counts', 'training metrics']] * 3
    # All that came over the socket is in the log, but for a few words of consent.
    logged = sum(e['bytes'] for e in left)
    assert logged <= manifest['traffic'][name]['up'] <= logged + 20_000


def test_a_run_that_waits_for_an_owner(tmp_path, monkeypatch):
  monkeypatch.setattr(engine, 'PATIENCE', 0.1)
  said = []
  with _sites(tmp_path / 'sites', policy.Policy()) as (guards, federation):
    settings = _settings(tmp_path, federation, total_rounds=1)

    def owners_look():
      for own in guards.values():
        while not (waiting := own.requests.all()):
          time.sleep(0.05)
        assert waiting[0].status == requests.WAITING
        own.approve(waiting[0].run_id)

    owners = threading.Thread(target=owners_look)
    data = engine_data.load(settings)
    data.sites.engine.say = said.append
    owners.start()
    experiment.run(settings, lambda: '', data)
    owners.join()
  assert said and all('waits for its owner' in line for line in said)


@pytest.mark.parametrize('rules', [ALLOWS, policy.Policy()])
def test_a_run_that_an_owner_denies_is_withdrawn_elsewhere(rules, tmp_path):
  strict = policy.Policy(training=policy.Training(most_rounds_per_run=2, beyond='deny'))
  denies = pytest.raises(SiteError, match=r'site b denies the run: A run may have 2 rounds')
  with _sites(tmp_path / 'sites', rules, strict) as (guards, federation):
    with denies:
      _run(_settings(tmp_path, federation))
    assert _request(guards['a']).status == 'withdrawn'
    assert _request(guards['b']).status == 'denied'


def test_a_run_that_is_stopped(tmp_path):
  settings = lambda federation: _settings(tmp_path, federation)
  # While it waits for an owner: it is given up. Between two rounds: it may go on later.
  with _sites(tmp_path / 'waiting', policy.Policy(), ALLOWS) as (guards, federation):
    with pytest.raises(SiteError, match='stopped while the request waited for the owner of a; it'):
      _run(settings(federation), lambda: 'Ctrl-C')
    assert {_request(own).status for own in guards.values()} == {'withdrawn'}
  with _sites(tmp_path / 'paused', ALLOWS) as (guards, federation):
    _run(settings(federation), lambda: 'Ctrl-C')
    assert {_request(own).status for own in guards.values()} == {'approved'}
    _run(settings(federation))
    assert {_request(own).status for own in guards.values()} == {'withdrawn'}


def test_a_graph_of_which_more_would_leave(tmp_path, monkeypatch):
  to_message = client_graph.ClientGraph.to_message

  def of_all_results(graph, run):
    everything = tuple(range(graph.function.outputs))
    return to_message(dataclasses.replace(graph, sent=everything), run)

  monkeypatch.setattr(client_graph.ClientGraph, 'to_message', of_all_results)
  refuses = pytest.raises(SiteError, match='is to be used in another way than run')
  with _sites(tmp_path / 'sites', ALLOWS) as (_, federation), refuses:
    _run(_settings(tmp_path, federation, algorithm='scaffold'))


def test_what_an_owner_keeps_to_itself(tmp_path):
  rules = policy.Policy(survey=policy.SurveyRules(kinds=()))
  refuses = pytest.raises(SiteError, match='does not let counts be known')
  with _sites(tmp_path / 'sites', rules) as (_, federation), refuses:
    _run(_settings(tmp_path, federation))
