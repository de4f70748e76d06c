"""docs/methods.md says what the registries and the measured rows say; every method has its part."""

import re

import numpy as np
import pandas as pd
import pytest

from baselines import method_rows, methods
from fl_research import aggregation, algorithms
from fl_research.aggregation import compression, privacy
from fl_research.population import attacks
from fl_research.registry import UsageError

METHODS = [method for listed in methods.places().values() for method in listed]
REGISTERED = [
  *algorithms.ALGORITHMS,
  *aggregation.AGGREGATORS,
  *compression.COMPRESSORS,
  *attacks.ATTACKS,
]


def test_page_is_up_to_date():
  assert methods.PAGE.read_text() == methods.page(), 'make generated'


@pytest.mark.parametrize('module', sorted({method.module for method in METHODS}))
def test_every_methods_module_lists_its_differences(module):
  assert methods.differences(module), f'{module}: no list under "{methods.HEADING}"'
  assert methods.docstring(module).count(methods.HEADING) == 1


def test_every_registered_method_is_on_the_page():
  assert set(REGISTERED) <= {method.name for method in METHODS}
  headings = re.findall(r'^### (.*)$', methods.page(), re.MULTILINE)
  headings.remove('What is not among them')
  assert headings == [method.name for method in METHODS]


def test_every_flag_of_a_method_is_on_the_page_with_its_domain():
  text = methods.page()
  assert '| `--fedprox_mu` | 0.1 | a number from 0 on | mu, strength of the proximal term |' in text
  assert '| `--dp_accountant` | rdp | rdp, pld | how rounds are composed |' in text


def test_the_page_says_what_epsilon_does_not_cover_and_when_it_says_little():
  text = methods.page()
  assert all(f'- {each}' in text for each in privacy.NOT_COVERED)
  assert '- delta = 0.035 is 0.74 / N at N = 21 clients' in text
  assert '- epsilon = 16.8 lets' in text and '- epsilon = 60.1 lets' in text


def test_every_method_that_trains_has_a_row_on_a_task():
  shown = {row.method for row in method_rows.rows()}
  assert {row.method for row in method_rows.rows()} <= {method.name for method in METHODS}
  without = {method.name for method in METHODS} - shown
  assert without == {'mean', 'virtual clock'}  # FedAvg's row; a clock that no training feels.


@pytest.mark.parametrize('row', method_rows.rows(), ids=lambda row: row.method)
def test_the_flags_of_a_row_are_accepted(row):
  for task, own in row.flags.items():
    settings = method_rows.to_settings(task, own)
    assert settings.task == task


def test_papers_are_found_in_docstrings():
  (paper,) = methods.papers('fl_research.algorithms.optimization.fed_prox')
  assert paper.startswith('Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith 2020, "Federated Optim')
  assert len(methods.papers('fl_research.aggregation.privacy.dp_mean')) >= 2
  assert methods.papers('fl_research.algorithms.personal.local') == []


def test_a_result_belongs_to_the_flags_as_they_are(monkeypatch, tmp_path):
  line = {'task': 'mnist', 'flags': '', 'seed': 1, 'common': method_rows._common('mnist')}
  stale = {**line, 'seed': 2, 'common': 'other'}
  gone = {**line, 'flags': '--algorithm=fedprox --fedprox_mu=0.5'}
  pd.DataFrame([line, stale, gone]).to_csv(tmp_path / 'results.csv', index=False)
  monkeypatch.setattr(method_rows, 'RESULTS', tmp_path / 'results.csv')
  assert method_rows.results()['seed'].tolist() == [1]
  work = {(task, own): seeds for task, own, seeds in method_rows.missing(method_rows.results())}
  assert work['mnist', ''] == (2, 3)
  assert work['uci_har', ''] == (1, 2, 3)


def test_a_row_is_measured_as_train_would(monkeypatch, tmp_path):
  """A small row in this process: what is kept of it is what its metrics.csv says."""
  common = '--task=digits\n--total_rounds=2\n--num_clients=10\n--clients_per_round=3\n'
  (tmp_path / 'digits.flags').write_text(common + '--notensorboard\n')
  monkeypatch.setattr(method_rows, 'FOLDER', tmp_path)
  kept = method_rows._measure('digits', '--algorithm=fedprox', 1, '')
  assert (kept['rounds'], kept['seed'], kept['flags']) == (2, 1, '--algorithm=fedprox')
  assert 0 < kept['accuracy'] <= 1 and 0 <= kept['worst_tenth'] <= kept['clients_accuracy'] <= 1
  assert kept['bytes_up'] == 3 * 4 * (64 * 10 + 10 + 1)
  assert kept['core_seconds_per_round'] > 0 and 'eval/accuracy' in kept['columns'].split()


def test_cells_show_means_and_intervals():
  found = pd.DataFrame({'accuracy': [0.90, 0.91, 0.92], 'bytes_up': [2e6] * 3})
  assert methods._cell(found, 'accuracy') == '91.0 ± 2.5'  # 4.303 · 1 / √3.
  assert methods._cell(found, 'bytes_up') == '2'
  assert methods._cell(found[:2], 'accuracy') == '…'
  assert methods._cell(found.assign(epsilon=np.nan), 'epsilon') == ''


def test_parallel_must_be_a_count():
  with pytest.raises(UsageError, match='--parallel=-1'):
    methods.main(['baselines.methods', '--page_only', '--parallel=-1'])
