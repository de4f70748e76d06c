"""Users' mistakes: one line that names the flag or file, exit code 2, and nothing written."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest

from experiments import command_line
from experiments import evaluate
from experiments import train
from fl_research import runtime

PROJECT = pathlib.Path(__file__).parents[2]

# What is given beside --output_dir and --experiment_name, and what the line must say. {here} is a
# folder with the files that `files` makes.
FLAGS = {
  # Names.
  '--task=minst': '--task=minst: unknown (did you mean mnist?); accepted are adult',
  '--task=digits --model=sofmax': '--model=sofmax: unknown (did you mean softmax?); accepted are 2',
  '--task=digits --algorithm=fedavgg': '--algorithm=fedavgg: unknown (did you mean fedavg?)',
  '--task=digits --algorithm=': '--algorithm=: unknown; accepted are',
  '--task=digits --partition=shard': '--partition=shard: unknown (did you mean shards?)',
  '--task=digits --client_optimizer=sdg': '--client_optimizer=sdg: unknown (did you mean sgd?)',
  '--task=digits --server_optimizer=adan': '--server_optimizer=adan: unknown (did you mean adam',
  '--task=digits --client_lr_schedule=cos': '--client_lr_schedule=cos: unknown',
  '--task=digits --server_lr_schedule=step': '--server_lr_schedule=step: unknown',
  '--task=digits --client_weighting=size': '--client_weighting=size: unknown',
  '--task=digits --cohort_sampling=random': '--cohort_sampling=random: unknown',
  '--task=digits --runtime=fast': '--runtime=fast: unknown',
  # Numbers.
  '--task=digits --client_batch_size=0': '--client_batch_size=0: accepted is an integer from 1',
  '--task=digits --client_batch_size=-1': '--client_batch_size=-1: accepted is',
  '--task=digits --client_batch_size=x': '--client_batch_size=x: accepted is',
  '--task=digits --client_batch_size=²': '--client_batch_size=²: accepted is',
  '--task=digits --client_batch_size=99999999999': '--client_batch_size=99999999999: accepted is',
  '--task=digits --client_learning_rate=-0.1': '--client_learning_rate=-0.1: accepted is',
  '--task=digits --client_learning_rate=nan': '--client_learning_rate=nan: accepted is',
  '--task=digits --server_learning_rate=inf': '--server_learning_rate=inf: accepted is',
  '--task=digits --target_metric=eval/loss --target_value=nan': '--target_value=nan: accepted is',
  '--task=digits --total_rounds=0': '--total_rounds=0: accepted is an integer of at least 1',
  '--task=digits --total_rounds=ten': '--total_rounds=ten: accepted is an integer',
  '--task=digits --seed=-1': '--seed=-1: accepted is',
  '--task=digits --client_epochs_per_round=0': '--client_epochs_per_round=0.0: accepted is',
  '--task=digits --rounds_per_evaluation=0': '--rounds_per_evaluation=0: accepted is',
  '--task=digits --held_out_clients_fraction=1.0': '--held_out_clients_fraction=1.0: accepted is',
  '--task=digits --num_clients=0': '--num_clients=0: accepted is an integer of at least 1',
  # The command line itself.
  '--task=digits --total_round=5': '--total_round: there is no such flag; did you mean --total_r',
  '--task=digits --qqq=5': '--qqq: there is no such flag; --help=all lists all flags',
  '--task=digits --seed': '--seed=--output_dir={results}: accepted is an integer',
  '--task=digits --centralized=maybe': '--centralized=maybe: accepted is true or false',
  '--task=digits rounds=5': 'rounds=5: arguments without --',
  '--flagfile={here}/no.flags': '{here}/no.flags',
  '--flagfile={here}/junk.csv': '--flagfile: is not a text file',
  # Flags together.
  '--task=digits --centralized --local_only': '--centralized and --local_only: at most one',
  '--task=digits --target_value=0.9': '--target_value: needs --target_metric',
  '--task=digits --patience=3': '--patience=3: needs --target_metric',
  '--task=digits --target_metric=eval/f1': '--target_metric=eval/f1: unknown (did you mean eval/',
  '--task=digits --target_metric=seconds': '--target_metric=seconds: unknown',
  '--task=digits --partition=iid --partition_alpha=1': '--partition_alpha=1.0: not read by this',
  '--task=digits --client_momentum=0.5': '--client_momentum=0.5: not read by this run (--client_op',
  '--task=digits --mlp_hidden_units=5': '--mlp_hidden_units=5: not read by this run (--model=',
  '--task=digits --partition=dirichlet --partition_alpha=0': '--partition_alpha=0.0: accepted is',
  '--task=digits --client_optimizer=momentum --client_momentum=1': '--client_momentum=1.0: acc',
  '--task=digits --partition=labels --partition_labels_per_client=11': 'labels_per_client=11',
  '--task=digits --data_file=x.csv': '--data_file=x.csv: only read with --task=',
  '--task=tabular': '--data_file: must be given for --task=tabular',
  '--task=digits --clients_per_round=101': '--clients_per_round=101: only 100 clients',
  '--task=digits --num_clients=5000': '5000',
  '--task=digits --partition=natural': '--partition=natural: digits has no clients of its own',
  '--task=digits --held_out_clients_fraction=0.999': '--held_out_clients_fraction=0.999',
  '--task=heart_disease --data_dir={here} --num_clients=3': 'processed.cleveland.data',
  '--task=synthetic --num_clients=5 --clients_per_round=6': '--clients_per_round=6: only 5 clients',
  '--task=digits --model=char_lstm': '--model=char_lstm',
  '--task=digits --model=matrix_factorization': '--model=matrix_factorization',
  '--task=npz --data_file={here}/small --model=cnn --clients_per_round=1': '--model=cnn',
  # Files.
  '--task=mnist --data_dir={here}/empty': 'train-images-idx3-ubyte.gz: not in',
  '--task=mnist --data_dir={here}/other': 'train-images-idx3-ubyte.gz: SHA-256',
  '--task=fashion_mnist --data_dir={here}/torn': 'train-images-idx3-ubyte.gz: damaged, truncated',
  '--task=tabular --data_file={here}/no.csv --client_column=c --label_column=y': 'no.csv',
  '--task=tabular --data_file={here}/junk.csv --client_column=c --label_column=y': 'junk.csv',
  '--task=tabular --data_file={here}/good.csv --client_column=d --label_column=y': '=d',
  '--task=tabular --data_file={here}/good.csv --client_column=c --label_column=z': '=z',
  '--task=tabular --data_file={here}/no_y.csv --client_column=c --label_column=y': 'have no label',
  '--task=tabular --data_file={here}/constant.csv --client_column=c --label_column=y': 'same',
  '--task=npz --data_file={here}/empty': '{here}/empty',
  '--task=npz --data_file={here}/pickled --clients_per_round=1': 'pickled',
  '--task=digits --availability_trace={here}/good.csv': '--availability_trace: only read with',
  '--task=digits --availability=trace --centralized': '=trace: not with --centralized',
  '--task=digits --availability=trace --local_only': '--availability=trace: not with --local_only',
  '--task=digits --devices=trace --device_spread=1': '--device_spread=1.0: only read with',
  '--task=digits --availability=trace --data_dir={here}': 'cached_timers.json: not in',
  '--task=digits --devices=trace --data_dir={here}': 'real2benchmark.json: not in',
  '--task=digits --availability=rounds': '--availability=rounds: needs --availability_trace',
  '--task=digits --availability=rounds --availability_trace={here}/no.csv': '/no.csv: can',
  '--task=digits --availability=rounds --availability_trace={here}/good.csv': 'client_id',
  '--task=digits --availability=rounds --availability_trace={here}/trace.csv': 'nobody',
  '--task=digits --availability=rounds --availability_trace={here}/words.csv': 'numbers',
}


@pytest.fixture(scope='module')
def here(tmp_path_factory):
  """A folder with files that nobody can train on."""
  folder = tmp_path_factory.mktemp('files')
  (folder / 'empty').mkdir()
  rows = [f'{c},{x},{int(x > 2)}' for c in 'ab' for x in range(6)]
  (folder / 'good.csv').write_text('\n'.join(['c,x,y', *rows]))
  (folder / 'no_y.csv').write_text('\n'.join(['c,x,y', *(r[:-1] for r in rows)]))
  (folder / 'constant.csv').write_text('\n'.join(['c,x,y', *(r[:-1] + '1' for r in rows)]))
  (folder / 'junk.csv').write_bytes(bytes(range(128, 256)) * 8)
  (folder / 'trace.csv').write_text('client_id,first_round,last_round\nnobody,1,2\n')
  (folder / 'words.csv').write_text('client_id,first_round,last_round\nclient_00,one,2\n')
  for name in ('other', 'torn'):
    images = gzip.compress(b'\0\0\x08\x03\0\0\xea\x60\0\0\0\x1c\0\0\0\x1c' + bytes(1000))
    for file in ('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz'):
      target = folder / name / ('mnist' if name == 'other' else 'fashion_mnist') / file
      target.parent.mkdir(parents=True, exist_ok=True)
      target.write_bytes(images if name == 'other' else images[:-20])
  for name in ('small', 'pickled'):
    (folder / name).mkdir()
    x = np.zeros((4, 3, 3, 1), np.float32) if name == 'small' else np.array([{}] * 4, object)
    np.savez(folder / name / 'a.npz', x=x, y=np.array([0, 1, 2, 0], np.int32))
  return folder


@pytest.fixture
def offline(monkeypatch):
  """No network, so that nothing is downloaded wherever the tests run."""

  def refuse(*arguments, **options):
    raise urllib.error.URLError('no network')

  monkeypatch.setattr(urllib.request, 'urlopen', refuse)


@pytest.fixture(scope='module', autouse=True)
def context():
  """Sets the runtime once, as its remark on a TensorFlow that other tests started is not ours."""
  runtime.set_context('auto')


def snapshot(folder):
  """What a folder holds."""
  return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob('*')}


def complaint(main, arguments, capfd, notes=0):
  """The line on stderr, below so many notes; asserts that it is one and that the exit code is 2."""
  capfd.readouterr()
  code = command_line.run(main, ['train.py', *arguments])
  out, err = capfd.readouterr()
  assert code == 2, err
  assert out == ''
  *noted, line = err.splitlines()
  assert len(noted) == notes and line.startswith('train.py: ') and err.endswith('\n'), err
  return line


@pytest.mark.parametrize('flags', FLAGS)
def test_bad_flags_and_files(flags, here, offline, tmp_path, capfd):
  arguments = [flag.format(here=here) for flag in flags.split()]
  output = (f'--output_dir={tmp_path}/results', '--experiment_name=bad')
  # What was found in a file that can be read is said first.
  found = int(flags.startswith('--task=npz') and FLAGS[flags] == '--model=cnn')
  line = complaint(train.main, [*arguments, *output], capfd, notes=found)
  assert FLAGS[flags].format(here=here, results=f'{tmp_path}/results') in line
  assert list(tmp_path.iterdir()) == []


DIGITS = ('--task=digits', '--clients_per_round=2', '--num_clients=4', '--total_rounds=2')
SAME = ('--experiment_name=run',)

# What is changed in the command of a run that is there, and what the line must say.
CHANGES = {
  '--total_rounds=1': '--total_rounds=1: the run in {run} was started with --total_rounds=2',
  '--seed=5': '--seed=5: the run in {run} was started with --seed=0',
  '--model=mlp': '--model=mlp: the run in {run} was started with --model=; give',
  '--partition=dirichlet': '--partition=dirichlet: the run in {run} was started with --partition=;',
  '--model=softmax --partition=iid': '--model=softmax: ',
  '--client_optimizer=momentum --client_momentum=0.5': '--client_optimizer=momentum: the run in',
}


@pytest.fixture(scope='module')
def results(tmp_path_factory):
  """The output folder of a finished run, run/."""
  folder = tmp_path_factory.mktemp('results')
  assert command_line.run(train.main, ['train.py', *DIGITS, *SAME, f'--output_dir={folder}']) == 0
  return folder


@pytest.mark.parametrize('flags', CHANGES)
def test_other_flags_for_a_run_that_is_there(flags, results, capfd):
  before = snapshot(results)
  arguments = [*DIGITS, *SAME, f'--output_dir={results}', *flags.split()]
  assert CHANGES[flags].format(run=results / 'run') in complaint(train.main, arguments, capfd)
  assert snapshot(results) == before


def test_the_same_flags_for_a_finished_run(results, capfd):
  before = snapshot(results)
  arguments = ['train.py', *DIGITS, *SAME, f'--output_dir={results}', '--runtime=native']
  assert command_line.run(train.main, arguments) == 0
  assert capfd.readouterr().out == f'{results}/run: this run is finished; nothing to do\n'
  assert snapshot(results) == before


@pytest.mark.parametrize(
  'content', ['{"flags": ', '[]', '{}', '{"flags": 1, "identity": {}, "method_flags": {}}', '\0']
)
def test_corrupted_manifest(content, tmp_path, capfd):
  (tmp_path / 'run').mkdir()
  manifest = tmp_path / 'run' / 'manifest.json'
  manifest.write_text(content)
  line = complaint(train.main, [*DIGITS, *SAME, f'--output_dir={tmp_path}'], capfd)
  assert f'{manifest}: ' in line
  assert manifest.read_text() == content and len(snapshot(tmp_path)) == 2


def test_a_folder_of_something_else(tmp_path, capfd):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'metrics.csv').write_text('years of work')
  line = complaint(train.main, [*DIGITS, *SAME, f'--output_dir={tmp_path}'], capfd)
  assert f'--experiment_name=run: {tmp_path}/run is there already and is not' in line
  assert (tmp_path / 'run' / 'metrics.csv').read_text() == 'years of work'


@pytest.mark.parametrize('place', ['file', 'file/below', 'run_is_a_file'])
def test_a_file_in_the_place_of_a_folder(place, tmp_path, capfd):
  (tmp_path / 'file').write_text('x')
  (tmp_path / 'run').write_text('x')
  output = tmp_path if place == 'run_is_a_file' else tmp_path / place
  line = complaint(train.main, [*DIGITS, *SAME, f'--output_dir={output}'], capfd)
  assert f'--output_dir={output}: ' in line and 'cannot be written to' in line
  assert len(snapshot(tmp_path)) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason='the superuser may write everywhere')
def test_a_folder_that_cannot_be_written_to(tmp_path, capfd):
  tmp_path.chmod(0o500)
  line = complaint(train.main, [*DIGITS, *SAME, f'--output_dir={tmp_path}/new'], capfd)
  assert f'--output_dir={tmp_path}/new: {tmp_path} cannot be written to' in line


@pytest.mark.parametrize('name', ['', '.', '..', 'a/b', 'a\nb', 'a' * 300])
def test_names_that_no_folder_can_have(name, tmp_path, capfd):
  arguments = [*DIGITS, f'--experiment_name={name}', f'--output_dir={tmp_path}/results']
  line = complaint(train.main, arguments, capfd)
  assert '--experiment_name=' in line
  assert list(tmp_path.iterdir()) == []


def test_data_that_have_changed(tmp_path, capfd):
  table = tmp_path / 'rows.csv'
  rows = [f'{"abc"[x % 3]},{x},{int(x > 29)}' for x in range(60)]
  table.write_text('\n'.join(['c,x,y', *rows]))
  arguments = [
    '--task=tabular',
    f'--data_file={table}',
    '--client_column=c',
    '--label_column=y',
    '--clients_per_round=2',
    '--total_rounds=1',
    f'--output_dir={tmp_path}/results',
    *SAME,
  ]
  assert command_line.run(train.main, ['train.py', *arguments]) == 0
  manifest = tmp_path / 'results' / 'run' / 'manifest.json'
  manifest.write_text(json.dumps({**json.loads(manifest.read_text()), 'finished': False}))
  table.write_text('\n'.join(['c,x,y', *rows, 'a,3,1']))
  before = snapshot(tmp_path)
  line = complaint(train.main, arguments, capfd, notes=1)
  assert f'--data_file={table}: not the data that the run in {manifest.parent} was start' in line
  assert snapshot(tmp_path) == before


# What is done to a run's folder before it is evaluated again, and what the line must say.
def _no_model(run):
  (run / 'model.npz').unlink()


def _torn_model(run):
  (run / 'model.npz').write_bytes((run / 'model.npz').read_bytes()[:500])


def _other_model(run):
  np.savez(run / 'model.npz', **{'dense_1/kernel': np.zeros((2, 2)), 'dense_1/bias': np.zeros(2)})


def _pickled_model(run):
  np.savez(run / 'model.npz', **{'dense_1/kernel': np.array([{}])})


def _not_ended(run):
  manifest = json.loads((run / 'manifest.json').read_text())
  del manifest['rounds']
  (run / 'manifest.json').write_text(json.dumps(manifest))


def _of_another_version(run):
  manifest = json.loads((run / 'manifest.json').read_text())
  manifest['flags']['warp'] = 9
  (run / 'manifest.json').write_text(json.dumps(manifest))


@pytest.mark.parametrize(
  'damage, expected',
  [
    (_no_model, '--run={run}: has no final model'),
    (_not_ended, '--run={run}: has no final model'),
    (_torn_model, '{run}/model.npz: is damaged'),
    (
      _other_model,
      '{run}/model.npz: is not the model of its run (dense_1/kernel is float64[2, 2])',
    ),
    (_pickled_model, '{run}/model.npz: is damaged, or is not the model of its run (Object arrays'),
    (_of_another_version, '{run}: has the flag warp, which this version does not know'),
  ],
)
def test_evaluating_a_damaged_run(damage, expected, results, tmp_path, capfd):
  run = tmp_path / 'run'
  shutil.copytree(results / 'run', run)
  damage(run)
  before = snapshot(tmp_path)
  line = complaint(evaluate.main, [f'--run={run}'], capfd)
  assert expected.format(run=run) in line
  assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
  'flags, expected',
  [
    ('', '--run: must be given'),
    ('--run={results}/rum', 'did you mean {results}/run?'),
    ('--run={results}/run/manifest.json', 'there is no run'),
    ('--run={results}/run --jit=maybe', '--jit=maybe: unknown; accepted are auto, off, on'),
    ('--run={results}/run --seed=3', 'no such flag; experiments.train has --seed'),
  ],
)
def test_evaluating_what_is_not_there(flags, expected, results, capfd):
  arguments = [flag.format(results=results) for flag in flags.split()]
  assert expected.format(results=results) in complaint(evaluate.main, arguments, capfd)


@pytest.mark.parametrize(
  'module, flags, expected',
  [
    ('train', ['--task=digitz'], 'train.py: --task=digitz: unknown (did you mean digits?)'),
    ('train', ['--task=digits', '--clients_per_round=500'], 'train.py: --clients_per_round=500: '),
    ('evaluate', ['--run=nowhere'], 'nowhere: there is no run, as there is no manifest.json'),
  ],
)
def test_real_processes(module, flags, expected, tmp_path):
  place = ['--experiment_name=x', f'--output_dir={tmp_path}/out'] if module == 'train' else []
  done = subprocess.run(
    [sys.executable, '-m', f'experiments.{module}', *flags, *place],
    cwd=PROJECT,
    capture_output=True,
    text=True,
  )
  assert (done.returncode, done.stdout) == (2, '')
  assert expected in done.stderr and done.stderr.count('\n') == 1
  assert list(tmp_path.iterdir()) == []


# Mistakes that only the data show, and what the line must say.
SEEN_IN_DATA = {
  '--task=synthetic --num_clients=5 --clients_per_round=6': '--clients_per_round=6',
  '--task=digits --model=char_lstm': '--model=char_lstm: does not fit this data',
  '--task=tabular --data_file={here}/good.csv --client_column=d --label_column=y': '=d',
  '--task=digits --availability=rounds --availability_trace={here}/trace.csv': 'nobody',
  '--task=digits --num_clients=4 --aggregator=krum': '--krum_f=1: needs more than 2f + 2 clients',
  '--task=digits --target_metric=eval/acuracy --patience=3': 'did you mean eval/accuracy?',
  '--task=digits --compressor=top_k --total_rounds=2': 'error feedback needs clients that come',
}


def test_what_the_data_show_is_said_without_tensorflow(here, tmp_path):
  """One process for all of them: none may import it, whatever came before."""
  place = ['--experiment_name=x', f'--output_dir={tmp_path}/out']
  lines = [[*(f.format(here=here) for f in flags.split()), *place] for flags in SEEN_IN_DATA]
  program = (
    'import json, sys; from experiments import command_line, train; '
    'run = lambda line: command_line.run(train.main, ["train.py", *line]); '
    'codes = [run(line) for line in json.loads(sys.argv[1])]; '
    'print(codes, "tensorflow" in sys.modules)'
  )
  done = subprocess.run(
    [sys.executable, '-c', program, json.dumps(lines)], cwd=PROJECT, capture_output=True, text=True
  )
  assert done.stdout.strip() == f'{[2] * len(lines)} False', done.stderr
  for expected, line in zip(SEEN_IN_DATA.values(), done.stderr.splitlines(), strict=True):
    assert expected in line
