"""Whole private runs on the digits: what metrics.csv, hparams.csv and the manifest say."""

import csv
import json

import numpy as np
import pytest

from fl_research import analysis, registry
from fl_research import settings as settings_lib
from fl_research.aggregation.privacy import accountant
from fl_research.population import cohorts
from fl_research.soundness import validation
from fl_research.training import experiment, guarantee, reevaluation, run_observers, tensorboard

# One client of 100 is expected: more than a third of all cohorts are empty.
SPARSE = {
  'dp_noise_multiplier': 1.0,
  'dp_clip_norm': 0.5,
  'cohort_sampling': 'poisson',
  'clients_per_round': 1,
}


def run(folder, name, interrupted=lambda: '', **given):
  """Trains on the digits; the rows of metrics.csv, hparams.csv's row, the manifest."""
  settings = settings_lib.Settings(
    task='digits',
    model='softmax',
    experiment_name=name,
    output_dir=str(folder),
    runtime='fused',
    **{'tensorboard': False, 'total_rounds': 6, 'rounds_per_evaluation': 6, **given},
  )
  validation.validate(settings)
  experiment.run(settings, interrupted)
  with open(folder / name / 'metrics.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  with open(folder / name / 'hparams.csv', newline='') as file:
    (hparams,) = csv.DictReader(file)
  return rows, hparams, json.loads((folder / name / 'manifest.json').read_text())


def test_every_row_states_the_guarantee(tmp_path):
  rows, hparams, manifest = run(tmp_path, 'sparse', **SPARSE)
  sampling = accountant.Sampling('poisson', 100, 1)
  delta = 100**-1.1
  ledger = accountant.Accountant('rdp', sampling, 1.0, delta)
  assert [float(row['privacy/epsilon']) for row in rows] == [ledger.epsilon(t) for t in range(7)]
  assert {float(row['privacy/delta']) for row in rows} == {delta}
  assert rows[0]['aggregation/noise_stddev'] == ''
  assert {row['aggregation/noise_stddev'] for row in rows[1:]} == {'0.5'}
  assert {row['aggregation/clip_norm'] for row in rows[1:]} == {'0.5'}
  assert hparams['client_weighting'] == 'uniform' and float(hparams['dp_delta']) == delta
  assert manifest['privacy']['neighbors'] == 'add_or_remove_one'
  assert manifest['privacy']['epsilon_after_all_rounds'] == float(rows[-1]['privacy/epsilon'])


@pytest.mark.parametrize(
  ('noise', 'word'), [('simulation', 'float32 from --seed'), ('cryptographic', 'same flags do not')]
)
def test_what_epsilon_does_not_cover_is_said_at_the_start_and_in_the_manifest(
  tmp_path, capfd, noise, word
):
  _, _, manifest = run(tmp_path, 'said', **{**SPARSE, 'total_rounds': 1, 'dp_noise': noise})
  (line,) = [each for each in capfd.readouterr().err.splitlines() if 'differential privacy' in each]
  for part in (word, 'clipped_fraction', 'cohort sizes', 'delta = 0.0063 is 0.63 / N'):
    assert part in line
  said = manifest['privacy']
  for part in ('train/', 'participants', 'clipped_fraction', 'clients.csv', 'eval_clients/'):
    assert part in ' '.join(said['does_not_cover'])
  assert said['covers'].startswith('the global models')
  assert said['same_flags_same_run'] is (noise == 'simulation')
  assert ('--seed gives back' in said['noise']) is (noise == 'simulation')
  assert said['cautions'][0] in line


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
  through, _, _ = run(tmp_path, 'through', **SPARSE)
  assert '0' in {row['participants'] for row in through[1:]}
  asked = iter([''] * 3)
  run(tmp_path, 'resumed', lambda: next(asked, 'pause'), **SPARSE)
  resumed, _, _ = run(tmp_path, 'resumed', **SPARSE)
  for row in (*through, *resumed):
    del row['seconds']
  assert resumed == through
  model = (tmp_path / 'resumed' / 'model.npz').read_bytes()
  assert model == (tmp_path / 'through' / 'model.npz').read_bytes()


def test_the_seed_draws_the_noise(tmp_path):
  first, _, _ = run(tmp_path, 'first', **SPARSE)
  other, _, _ = run(tmp_path, 'other', **SPARSE, seed=1)
  assert first[-1]['eval/loss'] != other[-1]['eval/loss']


@pytest.mark.parametrize('sampling', ['poisson', 'uniform'])
def test_the_target_is_reached_and_the_noise_written_down(tmp_path, sampling):
  rows, hparams, manifest = run(
    tmp_path,
    'target',
    target_epsilon=8.0,
    dp_clipping='adaptive',
    dp_count_noise=5.0,
    cohort_sampling=sampling,
    total_rounds=3,
  )
  assert 7.9 < float(rows[-1]['privacy/epsilon']) <= 8.0
  z = float(hparams['dp_noise_multiplier'])
  assert z == manifest['privacy']['dp_noise_multiplier'] > 0
  assert hparams['target_epsilon'] == '8.0' and hparams['dp_count_noise'] == '5.0'
  noise = (z**-2 - 10.0**-2) ** -0.5
  for row in rows[1:]:
    stddev = noise * float(row['aggregation/clip_norm']) / 10
    assert float(row['aggregation/noise_stddev']) == pytest.approx(stddev, rel=1e-5)
  assert rows[1]['aggregation/clip_norm'] != rows[2]['aggregation/clip_norm']


def test_pld_for_a_fixed_size_cohort_is_refused_before_anything_is_written(tmp_path):
  with pytest.raises(registry.UsageError, match=r'^--dp_accountant=pld: '):
    run(tmp_path, 'refused', dp_noise_multiplier=1.0, dp_clip_norm=0.5, dp_accountant='pld')
  assert not (tmp_path / 'refused').exists()


def test_cohorts_of_those_who_are_available_do_not_amplify():
  private = dict(dp_noise_multiplier=1.0, dp_clip_norm=0.5, total_rounds=10)
  sampler = cohorts.CohortSampler('uniform', 10, np.ones(100, np.int64), seed=1)
  of = lambda **given: guarantee.build(settings_lib.Settings(**private, **given), 100, 10, sampler)
  by_rounds = of(availability='rounds', availability_trace='trace.csv')
  assert [g.facts()['amplified_by_sampling'] for g in (of(), by_rounds)] == [True, False]
  assert by_rounds.epsilon(10) > 2 * of().epsilon(10)


WITHHELD = {**SPARSE, 'private_metrics': 'withhold'}
COVERED = ('aggregation/clip_norm', 'aggregation/noise_stddev', 'privacy/epsilon', 'privacy/delta')
EVALUATED = ('eval/loss', 'eval/accuracy')


def numbers(rows, columns):
  return [[float(row[column] or 'nan') for column in columns] for row in rows]


def test_withheld_is_all_that_epsilon_does_not_cover(tmp_path, capfd):
  given = {'clients_per_round': 5, 'rounds_per_evaluation': 2}
  reported, _, _ = run(tmp_path, 'reported', **{**SPARSE, **given})
  capfd.readouterr()
  rows, _, manifest = run(tmp_path, 'withheld', **{**WITHHELD, **given, 'tensorboard': True})
  assert 'is withheld' in capfd.readouterr().err
  assert set(rows[0]) == {'round', *EVALUATED, *COVERED}
  assert {'train/loss', 'participants', 'eval_clients/accuracy_mean'} < set(reported[0])
  # With columns by client, examples are evaluated in the order of clients: a last bit may differ.
  expected = numbers(reported, rows[0])
  np.testing.assert_allclose(numbers(rows, rows[0]), expected, rtol=1e-6, equal_nan=True)
  assert not (tmp_path / 'withheld' / 'clients.csv').exists()
  folder = tmp_path / 'withheld'
  (events,) = (folder / 'logdir').iterdir()
  shown = {value.tag for event in tensorboard._events(events) for value in event.summary.value}
  assert shown == {*EVALUATED, *COVERED}
  assert manifest['finished'] and manifest['flags']['private_metrics'] == 'withhold'
  loaded = analysis.load_runs(str(folder)).metrics
  assert set(loaded) == {'run', *rows[0]}
  again = reevaluation.evaluate(folder, {})
  assert set(again.row) == {'round', *EVALUATED}
  assert [path.read_text().count('\n') for path in again.files] == [2, 1]


@pytest.mark.parametrize(
  'given', [{'own_test_fraction': 0.2}, {'algorithm': 'ditto'}], ids=['own tests', 'personal']
)
def test_withheld_is_the_evaluation_too_where_it_looks_at_clients(tmp_path, given):
  rows, _, _ = run(tmp_path, 'withheld', **WITHHELD, **given, total_rounds=1)
  assert set(rows[0]) == {'round', *COVERED}
  assert (tmp_path / 'withheld' / 'model.npz').exists()


def test_withheld_is_that_no_update_was_finite(tmp_path, capfd):
  given = {'clients_per_round': 20, 'client_learning_rate': 1e38, 'client_batch_size': '1'}
  _, _, manifest = run(tmp_path, 'reported', **{**SPARSE, **given})
  assert manifest['diverged'] and 'infinite or NaN' in capfd.readouterr().err
  rows, _, manifest = run(tmp_path, 'withheld', **{**WITHHELD, **given})
  assert len(rows) == 7 and not manifest['diverged']
  assert 'infinite or NaN' not in capfd.readouterr().err


def test_what_is_withheld_is_no_target(tmp_path):
  with pytest.raises(registry.UsageError, match=r'^--target_metric=train/accuracy: unknown'):
    run(tmp_path, 'target', **WITHHELD, target_metric='train/accuracy', target_value=0.9)


FRESH = {**SPARSE, 'clients_per_round': 5, 'dp_noise': 'cryptographic'}


def test_no_run_with_noise_of_the_systems_comes_again(tmp_path):
  seeded, _, _ = run(tmp_path, 'seeded', **{**FRESH, 'dp_noise': 'simulation'})
  first, hparams, manifest = run(tmp_path, 'first', **FRESH)
  other, _, _ = run(tmp_path, 'other', **FRESH)
  assert len({rows[-1]['eval/loss'] for rows in (seeded, first, other)}) == 3
  # Amplification by sampling counts on cohorts that nobody knows.
  cohorts = lambda rows: [row['cohort_size'] for row in rows]
  assert cohorts(first) != cohorts(other) or cohorts(first) != cohorts(seeded)
  assert float(first[-1]['privacy/epsilon']) >= float(seeded[-1]['privacy/epsilon'])
  assert {row['aggregation/noise_stddev'] for row in first[1:]} == {'0.10000000149011612'}
  assert hparams['dp_noise'] == 'cryptographic'
  assert manifest['privacy']['same_flags_same_run'] is False
  assert manifest['privacy']['rounds_drawn_again'] == 0


@pytest.mark.parametrize(('noise', 'again'), [('cryptographic', 2), ('simulation', 0)])
def test_rounds_that_were_seen_and_made_again_count_twice(tmp_path, monkeypatch, noise, again):
  given = {**FRESH, 'dp_noise': noise, 'rounds_per_checkpoint': 2, 'total_rounds': 7}

  def dies_with_round_4s_checkpoint(self, progress):
    if progress.round_num == 4:
      raise KeyboardInterrupt
    save(self, progress)

  save = run_observers.Saver.checkpoint
  monkeypatch.setattr(run_observers.Saver, 'checkpoint', dies_with_round_4s_checkpoint)
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path, 'dies', **given)
  monkeypatch.undo()
  asked = iter([''])
  run(tmp_path, 'dies', lambda: next(asked, 'pause'), **given)
  rows, _, manifest = run(tmp_path, 'dies', **given)
  sampling = accountant.Sampling('poisson', 100, 5)
  ledger = accountant.Accountant('rdp', sampling, 1.0, 100**-1.1, noise == 'cryptographic')
  counted = [t if t <= 2 else t + again for t in range(8)]
  assert [float(row['privacy/epsilon']) for row in rows] == [ledger.epsilon(t) for t in counted]
  assert manifest['privacy']['rounds_drawn_again'] == again
  assert manifest['privacy']['epsilon_after_all_rounds'] == ledger.epsilon(7 + again)


def test_columns_are_absent_without_privacy(tmp_path):
  rows, hparams, manifest = run(tmp_path, 'plain', total_rounds=1)
  assert not [name for name in rows[0] if name.startswith(('privacy/', 'aggregation/'))]
  assert hparams['client_weighting'] == 'num_examples' and 'privacy' not in manifest


LOCAL = {'dp_place': 'local', 'dp_noise_multiplier': 1.0, 'dp_clip_norm': 0.5}


def test_every_row_states_the_loss_of_whoever_was_drawn_most_often(tmp_path, capfd):
  given = {'clients_per_round': 5, 'total_rounds': 4, 'client_weighting': 'uniform'}
  rows, hparams, manifest = run(tmp_path, 'local', **LOCAL, **given)
  said, shown = capfd.readouterr().err, manifest['privacy']
  sampler = cohorts.CohortSampler(
    'uniform', 5, np.ones(100, np.int64), settings_lib.Settings().seed
  )
  drawn = [
    np.bincount(np.concatenate([sampler.cohort(r) for r in range(1, t + 1)])).max()
    for t in range(1, 5)
  ]
  ledger = accountant.Accountant('rdp', accountant.Sampling('availability', 100, 5), 1.0, 100**-1.1)
  expected = [0.0, *(ledger.epsilon(int(count)) for count in drawn)]
  assert [float(row['privacy/epsilon']) for row in rows] == expected
  assert shown['rounds_of_a_client'] == drawn[-1] < 4 and shown['place'] == 'local'
  assert f'of a client that is drawn in {drawn[-1]}, which no other exceeds' in said
  assert 'clipped_fraction' not in said and 'clipped_fraction' not in str(shown)
  assert hparams['dp_place'] == 'local' and hparams['client_weighting'] == 'uniform'
