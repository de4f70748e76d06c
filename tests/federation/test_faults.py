"""Whatever goes away and comes back, the run ends as if nothing had been."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fl_research.federation import engine_data, messages
from fl_research.federation.engine import SiteError
from fl_research.federation.site import Site
from fl_research.training import experiment
from tests.federation import in_process, runs

FLAGS = {'algorithm': 'scaffold', 'total_rounds': 6, 'rounds_per_checkpoint': 2}


def _deployed(tmp_path, monkeypatch, name, **flags):
  settings = runs.settings(tmp_path, experiment_name=name, **FLAGS)
  settings, transport, sites = runs.of_sites(settings, monkeypatch, tmp_path / name)
  return dataclasses.replace(settings, **flags), transport, sites


def _run(settings, interrupted=lambda: ''):
  return experiment.run(settings, interrupted, engine_data.load(settings))


def _same(first, second):
  models = [np.load(outcome.folder.path / 'model.npz') for outcome in (first, second)]
  for weight in models[0].files:
    np.testing.assert_array_equal(models[0][weight], models[1][weight])
  tables = [pd.read_csv(outcome.folder.metrics) for outcome in (first, second)]
  pd.testing.assert_frame_equal(*(table.drop(columns='seconds') for table in tables))


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
  with pytest.MonkeyPatch.context() as monkeypatch:
    settings, _, _ = _deployed(tmp_path_factory.mktemp('runs'), monkeypatch, 'undisturbed')
    yield _run(settings)


class _Restarting:
  """A site that is another process from some of its messages on."""

  def __init__(self, site, again, at):
    self._site, self._again, self._left = site, again, at

  def handle(self, request):
    kind = messages.unpack(request).kind
    if kind == 'work':
      self._left -= 1
      if self._left == 0:
        self._site.handle(request)  # The answer is lost with it.
        self._site = self._again()
    return self._site.handle(request)


@pytest.mark.parametrize('at', [1, 4])
def test_a_site_that_starts_again(undisturbed, at, tmp_path, monkeypatch):
  settings, transport, sites = _deployed(tmp_path, monkeypatch, 'restarted')
  old = sites['b']

  def again():
    old.close()
    return Site('b', old._data, in_process.Anything(), old._folder)

  transport.handlers['b'] = _Restarting(old, again, at).handle
  _same(undisturbed, _run(settings))


@pytest.mark.parametrize('after', [1, 2, 3])
def test_an_engine_that_is_killed_and_goes_on(undisturbed, after, tmp_path, monkeypatch):
  settings, _, _ = _deployed(tmp_path, monkeypatch, 'resumed')
  rounds = []

  def dies():
    rounds.append(None)
    if len(rounds) > after:
      raise KeyboardInterrupt
    return ''

  with pytest.raises(KeyboardInterrupt):
    _run(settings, dies)
  _same(undisturbed, _run(settings))


def test_goes_on_without_a_site_that_is_away(tmp_path, monkeypatch):
  settings, transport, _ = _deployed(tmp_path, monkeypatch, 'without', min_sites=1)
  asked = []

  def ask(requests, deadline):
    asked.append(None)
    transport.away = (
      {'b'}
      if messages.unpack(next(iter(requests.values()))).kind
      in (
        'work',
        'evaluate',
      )
      else set()
    )
    return in_process.InProcess.ask(transport, requests, deadline)

  monkeypatch.setattr(transport, 'ask', ask)
  table = pd.read_csv(_run(settings).folder.metrics)
  assert (table['participants'][1:] + table['dropouts'][1:] == 4).all()
  assert table['dropouts'].max() > 0


def test_what_a_site_refuses_ends_the_run_in_a_line(tmp_path, monkeypatch):
  settings, transport, sites = _deployed(tmp_path, monkeypatch, 'refused')
  refuses = messages.pack(messages.refused('no more than 2 rounds'))
  handle = sites['a'].handle

  def two_rounds(request):
    message = messages.unpack(request)
    return refuses if message.kind == 'work' and message['round'] > 2 else handle(request)

  transport.handlers['a'] = two_rounds
  with pytest.raises(SiteError, match='site a refuses: no more than 2 rounds'):
    _run(settings)
