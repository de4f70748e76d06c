"""Runs with attackers and robust aggregators, by flags: what they leave, and what is refused."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import csv

import numpy as np
import pytest

from experiments import command_line, evaluate
from fl_research import aggregation, runtime
from fl_research.datasets import digits
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.population import attacks
from tests.training import runs

FLAGS = ('--model=softmax', '--partition=iid', '--num_clients=10', '--clients_per_round=7')
REFUSED = {
  '--aggregator=medain': '--aggregator=medain: unknown (did you mean median?)',
  '--aggregator=trimmed_mean --trimmed_mean_fraction=0.5': '--trimmed_mean_fraction=0.5: accepted',
  '--aggregator=krum --krum_f=3': '--krum_f=3: needs more than 2f + 2 clients, and --clients_per',
  '--aggregator=multi_krum --multi_krum_m=8': '--multi_krum_m=8: more updates than a round has',
  '--krum_f=1': '--krum_f=1: not read by this run (--aggregator=mean)',
  '--attack=sign_filp': '--attack=sign_filp: unknown (did you mean sign_flip?)',
  '--attacker_fraction=0.2': '--attacker_fraction=0.2: needs --attack',
  '--attack=sign_flip --attacker_fraction=1': '--attacker_fraction=1.0: accepted is',
  '--sign_flip_scale=2': '--sign_flip_scale=2.0: not read by this run (--attack=',
  '--attack=sign_flip --local_only': '--attack=sign_flip: not with --local_only',
  '--aggregator=median --centralized': '--aggregator=median: not with --centralized',
  '--attack=alie --secure_aggregation=clear': '--attack: attackers who collude see all updates',
  '--attack=model_replacement --model_replacement_label=10': '--model_replacement_label=10: accep',
}


@pytest.fixture(scope='module', autouse=True)
def context():
  """Sets the runtime once, as its remark on a TensorFlow that other tests started is not ours."""
  runtime.set_context('auto')


@pytest.mark.parametrize('flags', REFUSED)
def test_refused_before_anything_is_written(flags, tmp_path, capsys):
  assert runs.start(tmp_path / 'run', *FLAGS, *flags.split()) == command_line.EXIT_USAGE
  line = capsys.readouterr().err.strip()
  assert REFUSED[flags] in line and '\n' not in line
  assert not (tmp_path / 'run').exists()


@pytest.fixture(scope='module')
def backdoored(tmp_path_factory):
  """The folder of a finished run with a backdoor in it."""
  folder = tmp_path_factory.mktemp('backdoored') / 'run'
  code = runs.start(folder, *FLAGS, '--attack=model_replacement', '--attacker_fraction=0.3')
  assert code == 0
  return folder


def test_both_accuracies_are_those_of_the_final_model(backdoored):
  last = runs.rows(backdoored / 'metrics.csv')[-1]
  kernel, bias = runs.weights(backdoored)
  test = digits.load(DatasetOptions(data_dir='')).test
  accuracy = lambda x, y: np.mean(np.argmax(x.reshape(len(x), -1) @ kernel + bias, axis=1) == y)
  assert float(last['eval/accuracy']) == pytest.approx(accuracy(test['x'], test['y']))
  others = test['x'][test['y'] != 0].copy()
  others[:, 5:, 5:] = 1.0
  assert float(last['backdoor/accuracy']) == pytest.approx(accuracy(others, 0))
  assert float(last['backdoor/accuracy']) > 0.8


def test_the_backdoor_is_evaluated_again_with_the_model(backdoored):
  assert command_line.run(evaluate.main, ['evaluate.py', f'--run={backdoored}']) == 0
  again = runs.rows(backdoored / 'evaluation.csv')[0]
  last = runs.rows(backdoored / 'metrics.csv')[-1]
  assert again['backdoor/accuracy'] == last['backdoor/accuracy']


def test_without_an_attack_no_further_columns(tmp_path):
  assert runs.start(tmp_path / 'run', *FLAGS, '--aggregator=median') == 0
  with open(tmp_path / 'run' / 'metrics.csv', newline='') as file:
    assert not [name for name in next(csv.reader(file)) if name.startswith('backdoor')]


@pytest.mark.parametrize('attack', attacks.ATTACKS)
def test_every_attack_runs_by_flags(attack, tmp_path):
  flags = ('--aggregator=median', f'--attack={attack}', '--attacker_fraction=0.3')
  assert runs.start(tmp_path / 'run', *FLAGS, *flags, '--total_rounds=2') == 0
  assert float(runs.rows(tmp_path / 'run' / 'metrics.csv')[-1]['eval/loss']) < 5


@pytest.mark.parametrize('aggregator', aggregation.AGGREGATORS)
def test_every_aggregator_runs_by_flags(aggregator, tmp_path):
  needed = {'multi_krum': '--multi_krum_m=3', 'fltrust': '--server_examples=20'}
  flags = (f'--aggregator={aggregator}', needed.get(aggregator, ''))
  attacked = ('--attack=label_flip', '--attacker_fraction=0.3', '--total_rounds=2')
  given = [flag for flag in (*flags, *attacked) if flag]
  assert runs.start(tmp_path / 'run', *FLAGS, *given) == 0
  assert float(runs.rows(tmp_path / 'run' / 'metrics.csv')[-1]['eval/loss']) < 5
