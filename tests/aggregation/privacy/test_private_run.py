"""Whole private runs on the digits: what metrics.csv, hparams.csv and the manifest say."""

import csv
import json

import pytest

from fl_research import registry
from fl_research import settings as settings_lib
from fl_research.aggregation.privacy import accountant
from fl_research.soundness import validation
from fl_research.training import experiment

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
    tensorboard=False,
    rounds_per_evaluation=6,
    runtime='fused',
    **{'total_rounds': 6, **given},
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

  save = experiment._Saver.checkpoint
  monkeypatch.setattr(experiment._Saver, 'checkpoint', dies_with_round_4s_checkpoint)
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
