"""Whole runs: what they compute, when they end, what they leave behind, how they go on."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import contextlib
import errno
import fcntl
import json
import math
import os
import re
import shutil

from absl import logging
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing import event_accumulator
import tensorflow as tf

from experiments import command_line, evaluate
from fl_research import runtime
from fl_research import settings as settings_lib
from fl_research.registry import UsageError
from fl_research.training import (
  atomic_files,
  assembly,
  experiment,
  run_data,
  run_folder,
  tensorboard,
)
from tests.training import runs

SOFTMAX = ('--model=softmax', '--evaluate_train')


@pytest.fixture(scope='module', autouse=True)
def context():
  """Sets the runtime once, as its remark on a TensorFlow that other tests started is not ours."""
  runtime.set_context('auto')


@pytest.fixture(scope='module')
def done(tmp_path_factory):
  """The folder of a finished run."""
  folder = tmp_path_factory.mktemp('done') / 'run'
  assert runs.start(folder, *SOFTMAX, '--held_out_clients_fraction=0.2') == 0
  return folder


@pytest.fixture(scope='module')
def data(done):
  """The data of `done`."""
  return run_data.load(runs.settings(done, *SOFTMAX, '--held_out_clients_fraction=0.2'))


def test_a_run_leaves_all_its_files(done):
  assert sorted(path.name for path in done.iterdir()) == [
    'checkpoints',
    'classes.csv',
    'clients.csv',
    'confusion.csv',
    'confusion.png',
    'hparams.csv',
    'learning_curve.png',
    'logdir',
    'manifest.json',
    'metrics.csv',
    'model.keras',
    'model.npz',
    'preprocessing.json',
  ]
  assert len(list((done / 'checkpoints').iterdir())) == 3
  assert (done / 'learning_curve.png').read_bytes().startswith(b'\x89PNG')


def test_rows_and_columns(done):
  table = runs.rows(done / 'metrics.csv')
  assert [row['round'] for row in table] == [str(r) for r in range(7)]
  for number, row in enumerate(table):
    assert bool(row['train/loss']) == bool(row['cohort_size']) == (number > 0)
    evaluated = number % 2 == 0
    assert bool(row['eval/accuracy']) == bool(row['held_out/loss']) == evaluated
    assert float(row['seconds']) > 0
  assert {row['cohort_size'] for row in table[1:]} == {'3'}


def test_row_0_is_the_untrained_model(done, data):
  model = assembly.build_model(runs.settings(done, *SOFTMAX), data.spec)
  expected = runs.loss_and_accuracy(model.initial_weights[0], data.test)
  row = runs.rows(done / 'metrics.csv')[0]
  found = [float(row['eval/loss']), float(row['eval/accuracy'])]
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_evaluation_against_numpy(done, data):
  weights, row = runs.weights(done), runs.rows(done / 'metrics.csv')[-1]
  for prefix, clients, examples in (
    ('eval', data.test_clients, data.test),
    ('held_out', data.held_out, data.held_out.pooled()),
  ):
    expected = runs.loss_and_accuracy(weights, examples)
    found = [float(row[f'{prefix}/{metric}']) for metric in ('loss', 'accuracy')]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    each = [clients.examples(p) for p in range(len(clients)) if clients.sizes[p]]
    losses, accuracies = np.transpose([runs.loss_and_accuracy(weights, e) for e in each])
    for name, values, worst in (('loss', losses, max), ('accuracy', accuracies, min)):
      found = lambda s, p=prefix, n=name: float(row[f'{p}_clients/{n}_{s}'])
      np.testing.assert_allclose(found('mean'), values.mean(), rtol=1e-5)
      np.testing.assert_allclose(found('sd'), values.std(), rtol=1e-4, atol=1e-7)
      np.testing.assert_allclose(found('p90'), np.percentile(values, 90), rtol=1e-5)
      np.testing.assert_allclose(found('worst10'), worst(values), rtol=1e-5)


def test_all_training_examples_against_numpy(done, data):
  row = runs.rows(done / 'metrics.csv')[-1]
  found = [float(row[f'train_set/{metric}']) for metric in ('loss', 'accuracy')]
  expected = runs.loss_and_accuracy(runs.weights(done), data.train.pooled())
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_run_from_before_a_flag_was_there_is_resumed(tmp_path):
  folder = tmp_path / 'run'
  assert runs.start(folder, '--model=softmax') == 0
  manifest = runs.manifest(folder)
  del manifest['identity']['evaluate_train']
  (folder / 'manifest.json').write_text(json.dumps(manifest))
  assert runs.start(folder, '--model=softmax') == 0
  assert runs.start(folder, *SOFTMAX) == 2


def test_clients_csv(done, data):
  table = pd.read_csv(done / 'clients.csv', float_precision='round_trip')
  assert list(table) == ['round', 'client_id', 'phase', 'num_examples', 'metric', 'value']
  counts = table.groupby(['phase', 'round']).client_id.nunique()
  assert counts['train'].to_dict() == dict.fromkeys(range(1, 7), 3)
  assert set(counts['held_out']) == {1} and list(counts['eval'].index) == [0, 2, 4, 6]
  last = table[(table['round'] == 6) & (table.phase == 'eval') & (table.metric == 'loss')]
  by_id = {i: p for p, i in enumerate(data.test_clients.ids)}
  for _, row in last.iterrows():
    examples = data.test_clients.examples(by_id[row.client_id])
    assert row.num_examples == len(examples['y'])
    expected = runs.loss_and_accuracy(runs.weights(done), examples)[0]
    np.testing.assert_allclose(row.value, expected, rtol=1e-5)


def test_manifest_and_hparams(done, data):
  manifest = runs.manifest(done)
  assert manifest['finished'] and manifest['rounds'] == 6 and manifest['stopped'] == ''
  assert manifest['flags']['seed'] == 5
  assert manifest['passport']['partition_sha256'] == data.passport['partition_sha256']
  assert manifest['versions']['tensorflow-federated'] == '0.87.0'
  assert manifest['sessions'][0]['command'] and manifest['machine']['cores'] >= 1
  (row,) = runs.rows(done / 'hparams.csv')
  assert (row['task'], row['seed'], row['client_batch_size']) == ('digits', '5', '50')


def test_the_keras_file_predicts_the_same(done, data):
  model = tf.keras.models.load_model(done / 'model.keras')
  weights = runs.weights(done)
  x = np.asarray(data.test['x'][:50])
  expected = x.reshape(50, -1) @ weights[0] + weights[1]
  np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


def scalars(folder, tag):
  """(step, value) of a tag, as TensorBoard reads them, by step.

  Files that begin in the same second it reads in the order of their numbers' texts, 10 before 9.
  """
  everything = {event_accumulator.TENSORS: 0}
  accumulator = event_accumulator.EventAccumulator(str(folder / 'logdir'), everything)
  events = accumulator.Reload().Tensors(tag)
  return sorted((event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events)


def assert_tensorboard_shows_metrics_csv(folder):
  for tag in ('eval/accuracy', 'train/loss'):
    expected = [
      (int(r['round']), float(r[tag])) for r in runs.rows(folder / 'metrics.csv') if r[tag]
    ]
    found = scalars(folder, tag)
    assert [step for step, _ in found] == [step for step, _ in expected]
    np.testing.assert_allclose([v for _, v in found], [v for _, v in expected], rtol=1e-6)


def test_tensorboard_gets_one_event_a_row(tmp_path):
  writer = tensorboard.Writer(tmp_path / 'logdir', -1)
  for step in range(3):
    row = {'round': step, 'loss': 0.5, 'nothing': math.nan, 'note': 'text', 'large': 1e300}
    writer.row(row | {f'x{k}': k for k in range(30)})
  writer.close()
  (path,) = (tmp_path / 'logdir').iterdir()
  _, *events = tensorboard._events(path)
  assert [(event.step, len(event.summary.value)) for event in events] == [(n, 32) for n in range(3)]
  assert scalars(tmp_path, 'x7') == [(n, 7.0) for n in range(3)]


def test_tensorboard_shows_metrics_csv(done):
  assert_tensorboard_shows_metrics_csv(done)


def test_evaluating_again_gives_the_last_row(done, capsys):
  before = {p.name: p.read_bytes() for p in done.iterdir() if p.is_file()}
  assert command_line.run(evaluate.main, ['evaluate.py', f'--run={done}']) == 0
  assert 'eval/accuracy' in capsys.readouterr().out
  (row,) = runs.rows(done / 'evaluation.csv')
  last = runs.rows(done / 'metrics.csv')[-1]
  assert len(row) > 20
  assert row == {name: last[name] for name in row}
  evaluated = runs.rows(done / 'evaluation_clients.csv')
  clients = runs.rows(done / 'clients.csv')
  assert evaluated == [r for r in clients if r['round'] == '6' and r['phase'] != 'train']
  for name in ('classes.csv', 'confusion.csv', 'confusion.png'):
    assert (done / f'evaluation_{name}').read_bytes() == before[name]
  for path in done.glob('evaluation*'):
    path.unlink()
  assert {p.name: p.read_bytes() for p in done.iterdir() if p.is_file()} == before


def test_the_same_flags_give_the_same_numbers(done, tmp_path):
  assert runs.start(tmp_path / 'run', *SOFTMAX, '--held_out_clients_fraction=0.2') == 0
  runs.assert_same_results(done, tmp_path / 'run')


def test_the_native_runtime_agrees(done, tmp_path):
  native = ('--runtime=native', '--held_out_clients_fraction=0.2')
  assert runs.start(tmp_path / 'run', *SOFTMAX, *native) == 0
  for ours, theirs in zip(runs.weights(done), runs.weights(tmp_path / 'run'), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
  one, other = (pd.read_csv(f / 'metrics.csv') for f in (done, tmp_path / 'run'))
  pd.testing.assert_frame_equal(
    one.drop(columns='seconds'), other.drop(columns='seconds'), rtol=1e-5, atol=1e-6
  )
  runtime.shutdown()


@pytest.mark.parametrize('questions', [0, 1, 4])
def test_a_paused_run_goes_on_as_if_nothing_had_been(questions, done, tmp_path, capsys):
  folder = tmp_path / 'run'
  flags = (*SOFTMAX, '--held_out_clients_fraction=0.2')
  outcome = experiment.run(runs.settings(folder, *flags), runs.Pause(questions))
  assert outcome.reason == 'tired' and outcome.last_row['round'] == str(questions)
  assert not runs.manifest(folder)['finished'] and (folder / 'model.keras').exists()
  assert runs.start(folder, *flags) == 0
  resumed = capsys.readouterr().err
  assert resumed == (f'{folder}: resuming after round {questions}\n' if questions else '')
  assert len(runs.manifest(folder)['sessions']) == 2
  runs.assert_same_results(done, folder)
  assert_tensorboard_shows_metrics_csv(folder)


def test_damaged_checkpoints(done, tmp_path, capsys, monkeypatch):
  warnings = []
  monkeypatch.setattr(logging, 'warning', lambda text, *values: warnings.append(text % values))
  folder = tmp_path / 'run'
  flags = (*SOFTMAX, '--held_out_clients_fraction=0.2')
  experiment.run(runs.settings(folder, *flags), runs.Pause(5))
  newest = max((folder / 'checkpoints').iterdir())
  newest.write_bytes(newest.read_bytes()[:-100])
  experiment.run(runs.settings(folder, *flags), runs.Pause(0))
  assert capsys.readouterr().err == f'{folder}: resuming after round 4\n'
  assert len(warnings) == 1 and newest.name in warnings[0]
  for path in (folder / 'checkpoints').iterdir():
    path.write_bytes(b'')
  warnings.clear()
  assert runs.start(folder, *flags) == 0
  assert len(warnings) == 3 and 'from the start' in warnings[-1]
  runs.assert_same_results(done, folder)


def test_a_full_disk(done, tmp_path, capsys, monkeypatch):
  folder = tmp_path / 'run'
  flags = (*SOFTMAX, '--held_out_clients_fraction=0.2')
  fsync = os.fsync

  def refuse(descriptor):
    path = os.readlink(f'/proc/self/fd/{descriptor}')
    if path.endswith('metrics.csv') and os.fstat(descriptor).st_size > 2500:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    fsync(descriptor)

  with monkeypatch.context() as patched:
    patched.setattr(os, 'fsync', refuse)
    assert runs.start(folder, *flags) == 1
  line = capsys.readouterr().err
  assert line.startswith(f'train.py: No space left on device ({folder}/metrics.csv); what was')
  assert line.count('\n') == 1
  kept = [row['round'] for row in runs.rows(folder / 'metrics.csv')]
  assert kept == [str(r) for r in range(len(kept))] and 0 < len(kept) < 7
  assert runs.start(folder, *flags) == 0
  runs.assert_same_results(done, folder)


def test_only_one_process_in_a_folder(done, tmp_path):
  folder = tmp_path / 'run'
  experiment.run(runs.settings(folder, *SOFTMAX), runs.Pause(1))
  before = (folder / 'metrics.csv').read_bytes()
  descriptor = os.open(folder, os.O_RDONLY)
  fcntl.flock(descriptor, fcntl.LOCK_EX)
  with pytest.raises(UsageError, match='--experiment_name=run: another process is at work'):
    experiment.run(runs.settings(folder, *SOFTMAX), runs.Pause(1))
  assert (folder / 'metrics.csv').read_bytes() == before
  os.close(descriptor)
  experiment.run(runs.settings(folder, *SOFTMAX), runs.Pause(1))


def test_resuming_under_other_software_says_so_and_keeps_both(tmp_path, capsys):
  folder = tmp_path / 'run'
  experiment.run(runs.settings(folder, *SOFTMAX), runs.Pause(1))
  manifest = runs.manifest(folder)
  now = manifest['sessions'][0]['versions']
  assert now == manifest['versions']
  manifest['sessions'][0]['versions'] = {**now, 'numpy': '1.0'}
  (folder / 'manifest.json').write_text(json.dumps(manifest))
  capsys.readouterr()
  experiment.run(runs.settings(folder, *SOFTMAX), runs.Pause(1))
  said = [line for line in capsys.readouterr().err.splitlines() if 'other software' in line]
  assert len(said) == 1 and f'numpy 1.0 -> {now["numpy"]}' in said[0]
  assert 'tensorflow' not in said[0]
  kept = [session['versions']['numpy'] for session in runs.manifest(folder)['sessions']]
  assert kept == ['1.0', now['numpy']]
  experiment.run(runs.settings(folder, *SOFTMAX), runs.Pause(1))
  assert 'other software' not in capsys.readouterr().err


def test_the_keras_model_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
  named = []
  rename = atomic_files.rename
  monkeypatch.setattr(atomic_files, 'rename', lambda a, b: (named.append(b.name), rename(a, b))[1])
  experiment.run(runs.settings(tmp_path / 'run', *SOFTMAX), runs.Pause(1))
  assert 'model.keras' in named


def test_a_finished_run_made_longer_is_the_longer_run(done, tmp_path):
  flags = (*SOFTMAX, '--held_out_clients_fraction=0.2')
  folder = tmp_path / 'run'
  shutil.copytree(done, folder)
  assert runs.start(folder, *flags, '--total_rounds=8') == 0
  assert runs.start(tmp_path / 'whole', *flags, '--total_rounds=8') == 0
  runs.assert_same_results(folder, tmp_path / 'whole')
  manifest = runs.manifest(folder)
  assert manifest['identity']['total_rounds'] == manifest['flags']['total_rounds'] == 8
  assert (manifest['finished'], manifest['rounds'], len(manifest['sessions'])) == (True, 8, 2)


@pytest.mark.parametrize(
  'flags, reason',
  [
    (('--total_rounds=5',), 'rounds can be added, not taken away'),
    (('--total_rounds=9', '--seed=6'), 'give the same flags'),
  ],
)
def test_rounds_that_cannot_be_added(done, flags, reason, capsys):
  before = {path: path.read_bytes() for path in done.glob('*.*')}
  assert runs.start(done, *SOFTMAX, '--held_out_clients_fraction=0.2', *flags) == 2
  assert reason in capsys.readouterr().err
  assert {path: path.read_bytes() for path in done.glob('*.*')} == before


@pytest.mark.parametrize(
  'settings, reason',
  [
    ({'dp_clip_norm': 1.0, 'target_epsilon': 8.0}, '(--target_epsilon)'),
    ({'patience': 3, 'target_metric': 'eval/loss', 'rounds_per_evaluation': 4}, '--patience has'),
    ({'patience': 3, 'target_metric': 'eval/loss', 'rounds_per_evaluation': 3}, ''),
  ],
)
def test_what_depends_on_the_number_of_rounds_is_not_made_longer(settings, reason, tmp_path):
  common = {'task': 'digits', 'experiment_name': 'run', 'output_dir': str(tmp_path), **settings}
  folder = run_folder.RunFolder(settings_lib.Settings(**common, total_rounds=6))
  with contextlib.closing(folder):
    folder.start({'sources': {}, 'passport': {}})
    folder.finish({'finished': True, 'rounds': 6, 'stopped': ''})
    assert folder.finished
  longer = run_folder.RunFolder(settings_lib.Settings(**common, total_rounds=7))
  assert not longer.finished
  if not reason:
    longer.check()
    return
  with pytest.raises(UsageError, match=re.escape(reason)):
    longer.check()


def test_the_same_results_on_any_number_of_cores(tmp_path):
  flags = ('--model=softmax', '--client_batch_size=20', '--clients_per_round=5')
  for cores in (1, 2, 3):
    assert runs.start(tmp_path / f'{cores}', *flags, f'--client_parallelism={cores}') == 0
  # One core to begin with, and three to go on.
  part = tmp_path / 'part'
  assert runs.start(part, *flags, '--client_parallelism=1', '--total_rounds=2') == 0
  assert runs.start(part, *flags, '--client_parallelism=3') == 0
  for other in ('2', '3', 'part'):
    runs.assert_same_results(tmp_path / '1', tmp_path / other)
  assert runs.start(tmp_path / '1', *flags, '--client_chunks=4') == command_line.EXIT_USAGE


def test_chunks_are_what_last_digits_depend_on(tmp_path):
  flags = ('--model=softmax', '--client_batch_size=20', '--clients_per_round=5')
  for chunks in (1, 2):
    assert runs.start(tmp_path / f'{chunks}', *flags, f'--client_chunks={chunks}') == 0
    assert runs.manifest(tmp_path / f'{chunks}')['runtime']['chunks'] == chunks
  one, two = (runs.weights(tmp_path / f'{chunks}') for chunks in (1, 2))
  assert any(np.any(a != b) for a, b in zip(one, two))
  for a, b in zip(one, two):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
