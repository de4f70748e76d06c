"""Sums of columns that no site shows: the same preprocessing as from sums in the clear."""

import fractions

import numpy as np
import pandas as pd
import pytest

from fl_research import settings as settings_lib
from fl_research.federation import engine, fixed_point, messages, shared_columns, site_data
from fl_research.federation.refusal import Refused
from fl_research.federation.site import Site
from fl_research.registry import UsageError
from tests.federation import in_process


def test_words_add_up_exactly():
  random = np.random.default_rng(0)
  values = random.normal(size=(7, 50)) * 10.0 ** random.integers(-20, 20, (7, 50))
  words = sum(fixed_point.to_words(row) for row in values)
  expected = [float(sum(map(fractions.Fraction, column))) for column in values.T]
  np.testing.assert_array_equal(fixed_point.from_words(words), expected)
  np.testing.assert_array_equal(fixed_point.from_words(fixed_point.to_words(values[0])), values[0])
  for value in (np.inf, np.nan, 2e30):
    with pytest.raises(UsageError, match='is not finite, or above'):
      fixed_point.to_words(np.array([0.0, value]))


def _sites(tmp_path, names, by_protocol=(), numbers=True):
  """Hospitals with a few rows each; gives the transport, and what was asked and answered."""
  draw = np.random.default_rng(5)
  found, told = {}, []
  for number, name in enumerate(names):
    rows = 30 + 10 * number
    table = {
      **({'age': draw.normal(55, 9, rows).round()} if numbers else {}),
      'pain': draw.choice(['none', 'some', 'much'][: 2 + number % 2], rows),
      'ill': draw.choice(['yes', 'no'], rows),
    }
    file = tmp_path / f'{name}.csv'
    pd.DataFrame(table).to_csv(file, index=False)
    own = settings_lib.from_flags(
      {'task': 'tabular', 'label_column': 'ill', 'data_file': str(file)}
    )
    site_guard = in_process.Anything()
    site_guard.sums_by_protocol = name in by_protocol
    data = site_data.TableData(name, own, 1)
    found[name] = Site(name, data, site_guard, tmp_path / 'sites' / name)
  transport = in_process.InProcess({})
  for name, site in found.items():

    def handle(request, site=site, name=name):
      reply = site.handle(request)
      told.append((name, messages.unpack(request), messages.unpack(reply)))
      return reply

    transport.handlers[name] = handle
  return transport, told, found


def _met(transport):
  own = engine.Engine(transport, 0, None, lambda line: None)
  own.meet('tabular')
  return own


def test_the_same_columns_and_nobodys_sums(tmp_path):
  transport, told, sites = _sites(tmp_path, 'abc')
  clear = _met(transport).preprocessing
  sums = {name: reply.arrays['numbers'] for name, asked, reply in told if _asks(asked, 'sums')}
  assert sums.keys() == set('abc')
  told.clear()
  # One site that wants it is enough.
  sites['b']._guard.sums_by_protocol = True
  masked = _met(transport).preprocessing
  assert masked['label'] == clear['label']
  for own, other in zip(masked['columns'], clear['columns'], strict=True):
    assert own == pytest.approx(other, rel=1e-12)
  assert {len(reply.arrays['numbers']) for _, asked, reply in told if _asks(asked, 'sums')} == {0}
  steps = [asked['facts']['step'] for _, asked, _ in told if _asks(asked, 'session')]
  assert steps == 2 * [step for step in (0, 1, 2, 4) for _ in 'abc']
  everything = b''.join(messages.pack(reply) for _, _, reply in told)
  for [own] in sums.values():
    assert fixed_point.to_words(own)[:12].tobytes() not in everything
    assert own[:2].tobytes() not in everything


def test_columns_of_which_nothing_is_squared(tmp_path):
  found = []
  for by_protocol in ('', 'abc'):
    transport, _, _ = _sites(tmp_path, 'abc', by_protocol, numbers=False)
    found.append(_met(transport).preprocessing)
  assert found[0] == found[1]


def _asks(message, what):
  return message.kind == 'statistics' and message['what'] == what


def test_a_site_that_falls_silent_has_the_session_held_again(tmp_path, monkeypatch):
  monkeypatch.setattr(shared_columns, '_PATIENCE', 0.0)
  transport, told, _ = _sites(tmp_path, 'abc', 'abc')
  ask, silent = transport.ask, [True]

  def asks(requests, deadline):
    message = messages.unpack(next(iter(requests.values())))
    away = silent and _asks(message, 'session') and message['facts']['step'] == 2
    transport.away = {silent.pop() and 'c'} if away else set()
    return ask(requests, deadline)

  monkeypatch.setattr(transport, 'ask', asks)
  _met(transport)
  attempts = {asked['facts']['session']['attempt'] for _, asked, _ in told if _asks(asked, 'sums')}
  assert not silent and attempts == {1, 2}


def test_what_such_a_site_refuses(tmp_path):
  transport, _, sites = _sites(tmp_path, 'ab', 'b')
  with pytest.raises(UsageError, match='site b gives sums of its columns by secure aggregation'):
    _met(transport)
  # An engine that asks for no session, for one of too few, or for a step of an unknown one.
  asked = shared_columns._Asked('b', None)
  columns = {'columns': sites['b']._data.answer('facts', {}, [])[0]['columns'], 'categories': {}}
  few = {'name': 'x', 'bits': 64, 'threshold': 2, 'attempt': 1, 'number': 0, 'sites': []}
  sites['b']._guard.least_others_of_surveys = 2
  for facts, kind, complaint in (
    (columns, Refused, 'by secure aggregation only'),
    ({**columns, 'session': few}, Refused, 'a sum of 2 sites may come out'),
    ({**columns, 'session': {**few, 'bits': 8}}, messages.MessageError, 'facts of no session'),
    ({**columns, 'session': 7}, messages.MessageError, 'facts of no session'),
  ):
    with pytest.raises(kind, match=complaint):
      sites['b']._answers['statistics'](asked.request('sums', facts))
  step = asked.request('session', {'step': 0}, np.zeros(0, np.uint8))
  assert sites['b']._answers['statistics'](step)['what'] == 'round'
