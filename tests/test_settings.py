"""The settings: one vocabulary, checked before anything is read."""

import dataclasses
import re
import subprocess
import sys

import pytest

from experiments import command_line
from fl_research import aggregation, algorithms, optimizers, registry
from fl_research import settings as settings_lib
from fl_research.registry import UsageError
from fl_research.settings import elsewhere, Settings
from fl_research.soundness import validation

GOOD = {'task': 'digits', 'experiment_name': 'x'}


def check(**changes):
  validation.validate(Settings(**{**GOOD, **changes}))


def test_defaults_are_valid():
  check()


def test_every_setting_has_a_help_a_group_and_a_valid_default():
  names = [field.name for field in settings_lib.fields()]
  assert len(set(names)) == len(names)
  for field in settings_lib.fields():
    assert field.metadata['help'] and field.metadata['group'], field.name
    choices = field.metadata['choices']
    assert not choices or field.default == '' or field.default in choices(), field.name
    # Checks pass over what is the default.
    validation._check_field(field, field.default)


@pytest.mark.parametrize(
  'table, name, hyperparameter, flag',
  [
    (aggregation.AGGREGATORS, 'fedprox', 'mu', 'fedprox_mu'),
    (aggregation.AGGREGATORS, 'client', 'learning_rate', 'client_learning_rate'),
    (algorithms.ALGORITHMS, 'client', 'beta_1', 'client_beta_1'),
    (optimizers.OPTIMIZERS, 'lion', 'lr_decay', 'client_lr_decay'),
  ],
)
def test_a_flag_name_that_is_taken_is_an_error(monkeypatch, table, name, hyperparameter, flag):
  entry = registry.Entry('new', 'new', {hyperparameter: registry.Hyperparameter(0.0, 'new')})
  monkeypatch.setitem(table, name, entry)
  with pytest.raises(ValueError, match=f'--{flag}, of .* is the name of another flag'):
    settings_lib.registry_flags()


def test_hyperparameters_that_share_a_flag_are_the_same(monkeypatch):
  other = registry.Entry('new', 'new', {'beta_1': registry.Hyperparameter(0.5, 'another')})
  monkeypatch.setitem(optimizers.OPTIMIZERS, 'lion', other)
  with pytest.raises(ValueError, match='new: beta_1 is another hyperparameter already'):
    settings_lib.registry_flags()


def test_an_optimizer_is_one_line(monkeypatch):
  """Its hyperparameters are flags of both sides, and read with it only."""
  entry = registry.Entry('new', 'new', {'beta_3': registry.Hyperparameter(0.5, 'a third')})
  monkeypatch.setitem(optimizers.OPTIMIZERS, 'lion', entry)
  check(server_optimizer='lion', hyperparameters={'server_beta_3': 0.1})
  with pytest.raises(UsageError, match=r'--client_beta_3=0.1: not read .*--client_optimizer=sgd'):
    check(server_optimizer='lion', hyperparameters={'client_beta_3': 0.1})


def test_every_hyperparameter_has_a_valid_default():
  for name, flag in settings_lib.registry_flags().items():
    flag.hyperparameter.check(name, flag.hyperparameter.default)


@pytest.mark.parametrize(
  'changes',
  [
    {'client_batch_size': 'full'},
    {'client_batch_size': '1000000'},
    {'client_learning_rate': 0.0},
    {'client_epochs_per_round': 0.5},
    {'target_metric': 'eval/accuracy', 'target_value': 0.9, 'patience': 3},
    {'partition': 'dirichlet', 'hyperparameters': {'partition_alpha': 0.1}},
    {'model': 'mlp', 'hyperparameters': {'mlp_hidden_units': 5}},
    {'client_optimizer': 'adam', 'hyperparameters': {'client_beta_1': 0.5}},
    {'local_only': True},
    {'task': 'tabular', 'data_file': 'f', 'client_column': 'c', 'label_column': 'l'},
  ],
)
def test_good_settings(changes):
  check(**changes)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'task': ''}, '--task: must be given'),
    ({'experiment_name': 'a/b'}, '--experiment_name=a/b'),
    ({'client_batch_size': '0'}, '--client_batch_size=0: accepted is'),
    ({'client_batch_size': 'all'}, '--client_batch_size=all: accepted is'),
    ({'client_learning_rate': float('inf')}, '--client_learning_rate=inf'),
    ({'target_value': float('nan'), 'target_metric': 'x'}, '--target_value=nan: accepted is a fin'),
    ({'algorithm': ''}, '--algorithm=: unknown'),
    ({'aggregator': 'krum', 'clients_per_round': 4}, '--krum_f=1: needs more than 2f + 2 clients'),
    ({'hyperparameters': {'partition_alpha': 0.1}}, '--partition_alpha=0.1: not read'),
    ({'hyperparameters': {'partition_beta': 0.1}}, '--flag=partition_beta: unknown'),
    ({'hyperparameters': {'client_beta_1': 0.1}}, '--client_beta_1=0.1: not read'),
    (
      {'client_optimizer': 'adam', 'hyperparameters': {'client_beta_1': 1.0}},
      '--client_beta_1=1.0: accepted is',
    ),
  ],
)
def test_bad_settings(changes, message):
  with pytest.raises(UsageError) as error:
    check(**changes)
  assert str(error.value).startswith(message) and '\n' not in str(error.value)


def test_batch_size():
  assert Settings(client_batch_size='7').batch_size == 7
  assert Settings(client_batch_size='full').batch_size is None


def test_identity_leaves_out_what_cannot_change_the_results():
  one = Settings(
    **GOOD, output_dir='here', runtime='native', hyperparameters={'client_beta_1': 0.5}
  )
  other = dataclasses.replace(one, output_dir='there', runtime='fused', clients_csv=True)
  assert one.identity() == other.identity()
  assert one.flag_values() != other.flag_values()
  assert one.identity()['client_beta_1'] == 0.5


def test_what_is_left_open_is_what_the_algorithm_has():
  assert Settings(algorithm='fedavg').server_rate == 1.0
  assert Settings(algorithm='fedadam').server_rate == 0.01
  assert Settings(algorithm='fedadam', server_learning_rate=1.0).server_rate == 1.0
  entries = algorithms.ALGORITHMS.values()
  assert {name for entry in entries for name in entry.defaults} <= set(settings_lib.LEFT_OPEN)


def test_open_and_given_in_so_many_words_are_the_same_run():
  given = dataclasses.replace(Settings(**GOOD), server_learning_rate=1.0, clients_per_round=10)
  assert given.identity() == Settings(**GOOD).identity()


def test_hyperparameters_by_prefix():
  settings = Settings(hyperparameters={'client_beta_1': 0.5, 'server_beta_1': 0.6})
  assert settings.hyperparameters_of('client') == {'beta_1': 0.5}
  assert settings.hyperparameters_of('partition') == {}


def test_flags_and_settings_are_the_same_words():
  from absl import flags

  flag_values = flags.FlagValues()
  command_line.define_settings_flags(flag_values)
  command_line.parse(
    flag_values, ['x', '--task=digits', '--seed=4', '--clients_csv', '--partition_alpha=0.25']
  )
  expected = Settings(
    task='digits', seed=4, clients_csv=True, hyperparameters={'partition_alpha': 0.25}
  )
  assert command_line.to_settings(flag_values) == expected


def test_settings_from_flags_as_text():
  given = {'seed': '4', 'clients_csv': 'true', 'target_value': '0.5', 'client_batch_size': '7'}
  expected = Settings(
    seed=4, clients_csv=True, target_value=0.5, client_batch_size='7', hyperparameters={'krum_f': 2}
  )
  assert settings_lib.from_flags({'krum_f': '2', **given}) == expected
  assert settings_lib.from_flags(expected.flag_values()) == expected


@pytest.mark.parametrize(
  'name, text, accepted',
  [
    ('seed', '1.5', 'an integer'),
    ('client_learning_rate', 'x', 'a number'),
    ('clients_csv', 'yes', 'true or false'),
    ('krum_f', '', 'an integer'),
  ],
)
def test_text_that_is_no_value(name, text, accepted):
  with pytest.raises(UsageError, match=f'^--{name}={text}: accepted is {accepted}$'):
    settings_lib.from_flags({name: text})


def test_checking_imports_neither_tensorflow_nor_what_draws():
  program = (
    'import sys; from fl_research import settings as s; '
    'from fl_research.soundness import validation as v; '
    'v.validate(s.Settings(task="mnist", experiment_name="x")); '
    'heavy = [m for m in ("tensorflow", "sklearn", "matplotlib", "pandas") if m in sys.modules]; '
    'from experiments import compare, sweep; '
    'print(heavy, [m for m in ("tensorflow", "matplotlib") if m in sys.modules])'
  )
  output = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
  assert output.stdout.strip() == '[] []', output.stderr


def test_names_of_other_frameworks_stand_for_flags_that_there_are():
  known = settings_lib.flag_types()
  assert {ours.flag for ours in elsewhere.NAMES.values()} <= set(known)
  assert not set(elsewhere.NAMES) & set(known)


@pytest.mark.parametrize(
  'name, hint',
  [
    ('local_epochs', 'here it is --client_epochs_per_round'),
    ('local-epochs', 'here it is --client_epochs_per_round'),
    ('epochs', 'here it is --client_epochs_per_round (rounds are --total_rounds)'),
    ('device', 'here it is --client_parallelism (all runs on processor cores)'),
    ('lr', "here it is --client_learning_rate (the server's is --server_learning_rate)"),
    ('join_ratio', 'here it is --clients_per_round (a number of clients, not a share)'),
    ('total_round', 'did you mean --total_rounds?'),
  ],
)
def test_names_of_other_frameworks_are_understood(name, hint):
  with pytest.raises(UsageError, match=re.escape(f'--{name}: there is no such flag; {hint}')):
    command_line.read_flags([f'--{name}=1'])
