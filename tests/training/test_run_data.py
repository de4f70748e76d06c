"""Options that change what the clients of a run have: tests of their own, names of their own."""

import sys
import types

import numpy as np
import pytest

from fl_research import tasks
from fl_research.datasets import splits
from fl_research.datasets.federated_data import FederatedData, Problem
from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.soundness import validation
from fl_research.training import run_data

_DIGITS = {'task': 'digits', 'num_clients': 6, 'partition': 'iid', 'clients_per_round': 2}


@pytest.fixture
def make_task(monkeypatch):
  """Makes a task of clients: (x, y) by id, and those of people who are tested."""

  def make(train, test, problem=Problem.CLASSIFICATION):
    people = FederatedData(_clients(train), _clients(test).pooled(), problem, 3, _clients(test))
    module = types.ModuleType('people')
    monkeypatch.setattr(module, 'load', lambda options: people, raising=False)
    monkeypatch.setitem(sys.modules, 'people', module)
    task = tasks.Task('people', 'people', default_model='softmax', models=('softmax',))
    monkeypatch.setitem(tasks.TASKS, 'people', task)
    return {'task': 'people', 'clients_per_round': 1}

  return make


def _clients(ys):
  y = np.concatenate(list(ys.values()))
  owner = np.repeat(np.arange(len(ys)), [len(own) for own in ys.values()])
  x = np.arange(len(y), dtype=np.float32)[:, np.newaxis]
  return splits.clients_by_owner({'x': x, 'y': y}, owner, list(ys))


def _load(**settings):
  return run_data.load(Settings(**settings))


def test_training_clients_are_tested_on_their_own_last_examples():
  plain, own = _load(**_DIGITS), _load(**_DIGITS, own_test_fraction=0.25)
  assert list(own.train.ids) == list(own.test_clients.ids)
  for k in range(6):
    parts = own.train.examples(k), own.test_clients.examples(k)
    before = plain.train.examples(k)
    assert len(parts[1]['y']) == pytest.approx(0.25 * len(before['y']), abs=5)
    assert set(parts[1]['y']) == set(before['y'])
    together = np.concatenate([part['x'].reshape(len(part['x']), -1) for part in parts])
    np.testing.assert_array_equal(
      np.sort(together, axis=0), np.sort(before['x'].reshape(len(before['x']), -1), axis=0)
    )
  assert len(own.test['y']) == own.test_clients.sizes.sum()


def test_groups_of_clients_name_the_labels_alike_in_training_and_test():
  plain, renamed = _load(**_DIGITS, seed=2), _load(**_DIGITS, seed=2, label_namings=3)
  names = []
  for k in range(6):
    meant, called = plain.train.examples(k)['y'], renamed.train.examples(k)['y']
    names.append(dict(zip(meant, called)))
    np.testing.assert_array_equal([names[k][y] for y in meant], called)
    np.testing.assert_array_equal(renamed.train.examples(k)['x'], plain.train.examples(k)['x'])
    tested = plain.test_clients.examples(k)['y']
    np.testing.assert_array_equal(
      renamed.test_clients.examples(k)['y'], [names[k][y] for y in tested]
    )
  assert names[0] == names[3] and names[1] == names[4] and names[2] == names[5]
  assert all(meant == called for meant, called in names[0].items())
  assert names[1] != names[0] != names[2] != names[1]
  np.testing.assert_array_equal(renamed.test['y'], renamed.test_clients.pooled()['y'])


def test_groups_of_clients_hold_their_pictures_alike_in_training_and_test():
  plain, turned = _load(**_DIGITS, seed=2), _load(**_DIGITS, seed=2, rotations=4)
  for clients, before in ((turned.train, plain.train), (turned.test_clients, plain.test_clients)):
    for k in range(6):
      x, given = clients.examples(k)['x'], before.examples(k)['x']
      expected = given
      for _ in range(k % 4):  # A quarter to the left: the last column becomes the first row.
        expected = np.transpose(expected, (0, 2, 1, 3))[:, ::-1]
      np.testing.assert_array_equal(x, expected)
      np.testing.assert_array_equal(clients.examples(k)['y'], before.examples(k)['y'])
  halves = _load(**_DIGITS, seed=2, rotations=2)
  given = plain.train.examples(1)['x']
  np.testing.assert_array_equal(halves.train.examples(1)['x'], given[:, ::-1, ::-1])
  np.testing.assert_array_equal(turned.test['x'], turned.test_clients.pooled()['x'])


def test_only_pictures_can_be_turned(make_task):
  people = make_task({'a': np.zeros(4, np.int32)}, {'a': np.ones(1, np.int32)})
  with pytest.raises(UsageError, match='--rotations=2: people has no pictures'):
    _load(**people, rotations=2)
  with pytest.raises(UsageError, match='--renderings=plain,noisy: people has no pictures'):
    _load(**people, renderings='plain,noisy')


def test_groups_of_clients_see_their_pictures_alike_in_training_and_test():
  plain = _load(**_DIGITS, seed=2)
  seen = _load(**_DIGITS, seed=2, renderings='plain,inverted,noisy')
  for clients, before in ((seen.train, plain.train), (seen.test_clients, plain.test_clients)):
    for k in range(6):
      x, given = clients.examples(k)['x'], before.examples(k)['x']
      np.testing.assert_array_equal(clients.examples(k)['y'], before.examples(k)['y'])
      if k % 3 == 2:
        assert 0.25 < np.std((x - given) / np.ptp(given, axis=(1, 2, 3), keepdims=True)) < 0.35
      else:
        np.testing.assert_allclose(x, given if k % 3 == 0 else _inverted(given), atol=1e-6)
  noise = [c.examples(2)['x'][0] - p.examples(2)['x'][0] for c, p in _both(seen, plain)]
  assert np.max(np.abs(noise[0] - noise[1])) > 0.1
  again = _load(**_DIGITS, seed=2, renderings='plain,inverted,noisy')
  np.testing.assert_array_equal(again.train.examples(2)['x'], seen.train.examples(2)['x'])
  np.testing.assert_array_equal(seen.test['x'], seen.test_clients.pooled()['x'])


def _inverted(x):
  return np.max(x, axis=(1, 2, 3), keepdims=True) - x


def _both(data, other):
  return (data.train, other.train), (data.test_clients, other.test_clients)


def test_pictures_are_turned_and_rendered_at_once():
  both = _load(**_DIGITS, seed=2, rotations=2, renderings='plain,inverted')
  turned = _load(**_DIGITS, seed=2, rotations=2)
  given = turned.train.examples(1)['x']
  np.testing.assert_array_equal(both.train.examples(1)['x'], _inverted(given))
  with pytest.raises(UsageError, match='--renderings=plain,upside'):
    validation.validate(Settings(task='digits', experiment_name='x', renderings='plain,upside'))


def test_labels_of_people_who_do_not_train_have_no_names(make_task):
  labels = np.arange(9, dtype=np.int32) % 3
  people = make_task({'a': labels, 'b': labels}, {'c': labels})
  with pytest.raises(UsageError, match='--label_namings=2: the test examples are not those'):
    _load(**people, label_namings=2)
  renamed = _load(**people, label_namings=2, own_test_fraction=0.4)
  assert list(renamed.train.ids) == list(renamed.test_clients.ids) == ['a', 'b']


def test_only_classes_can_be_renamed(make_task):
  people = make_task({'a': np.linspace(0, 1, 4)}, {'a': np.ones(1)}, Problem.REGRESSION)
  with pytest.raises(UsageError, match='--label_namings=2: people has no class labels'):
    _load(**people, label_namings=2)


def test_clients_of_one_example_cannot_be_divided(make_task):
  one = np.zeros(1, np.int32)
  with pytest.raises(UsageError, match=r'--own_test_fraction=0\.5: no client has two examples'):
    _load(**make_task({'a': one, 'b': one}, {'a': one}), own_test_fraction=0.5)


def test_a_cohort_that_nobody_asked_for_is_ten_or_all():
  digits = {**_DIGITS, 'clients_per_round': None}
  assert _load(**digits).cohort_size == 6
  assert _load(**{**digits, 'num_clients': 12}).cohort_size == 10
  assert _load(**_DIGITS).cohort_size == 2
  assert _load(**digits, centralized=True).cohort_size == 1
  assert _load(**digits, local_only=True).cohort_size == 6


@pytest.mark.parametrize('clients, message', [(1, 'only 1 client has'), (3, 'only 3 clients have')])
def test_more_clients_than_there_are(clients, message):
  with pytest.raises(UsageError, match=f'--clients_per_round=9: {message} examples'):
    _load(**{**_DIGITS, 'num_clients': clients, 'clients_per_round': 9})


def test_clients_that_are_dealt_out_anew_are_told(make_task, capsys):
  labels = np.arange(30, dtype=np.int32) % 3
  people = make_task({'a': labels, 'b': labels}, {'c': labels})
  _load(**people)
  assert capsys.readouterr().err == ''
  assert len(_load(**people, partition='iid').train) == 60
  told = capsys.readouterr().err
  assert '--partition=iid: people has 2 clients of its own, whose examples are pooled' in told
  assert 'anew to 60 (--num_clients)' in told


def test_auc_is_asked_for_where_it_is_read(make_task):
  people = make_task({'a': np.array([0, 1] * 3)}, {'a': np.array([0, 1])}, Problem.BINARY)
  with pytest.raises(
    UsageError, match=r'--evaluate_auc=true: only read for more than two .* always'
  ):
    _load(**people, evaluate_auc=True)
