"""Measuring a paper's claims again, on a paper made up for it."""

import csv
import pathlib

import pandas as pd
import pytest

from baselines import claims, protocols, reproduce, studies
from experiments import command_line, sweep
from fl_research import analysis

# fake_train: train/accuracy is 0.9 + seed / 1000 at rate 0.3, a tenth less per factor of ten.
HEAD = ['claim', 'kind', 'study', 'grid', 'select', 'seeds', 'measure', 'expected']
MEASURE = 'train/accuracy final'
COMMIT = '0123456789ab'
NUMBER, ORDERING, COMPUTED = 'published number', 'published ordering', 'computed'
RATE = 'arm: client_learning_rate=0.3'
ROWS = [
  ['rate', NUMBER, 'arm', 'client_learning_rate=0.1,0.3,1', MEASURE, '0,1,2', MEASURE, '0.9'],
  ['edge', NUMBER, 'arm', 'client_learning_rate=0.1,0.3', MEASURE, '0,1,2', MEASURE, '0.9'],
  ['order', ORDERING, 'arm - other', RATE, MEASURE, '0,1', MEASURE, '> 0'],
  ['both', 'own claim', 'arm - other + arm', RATE, MEASURE, '0,1', MEASURE, '> 0.9'],
  ['draw', COMPUTED, 'numbers:draw(3)', '', '', '5,6,7', '', '2'],
  ['exact', COMPUTED, 'numbers:half(3)', '', '', '', '', '1.5'],
  ['wrong', COMPUTED, 'numbers:half(5)', '', '', '', '', '1.5'],
  ['large', NUMBER, 'arm', '', '', '0,1', MEASURE, '1'],
]


@pytest.fixture
def paper(tmp_path, monkeypatch):
  folder = tmp_path / 'baselines' / 'doe2020'
  folder.mkdir(parents=True)
  monkeypatch.setattr(reproduce, 'HERE', folder.parent)
  monkeypatch.setattr(sweep, 'TRAIN', 'tests.experiments.fake_train')
  (folder / '__init__.py').write_text('"""Doe 2020, On Numbers\n\nA paper made up."""\n')
  head = '# What Doe did.\n--task=digits\n--total_rounds=2\n'
  (folder / 'arm.flags').write_text(f'{head}--client_learning_rate=7\n')
  (folder / 'other.flags').write_text(f'{head}--client_learning_rate=0.1\n')
  rest = {'source': 'table 1', 'certainty': 'R', 'statement': 'so it is', 'scale': 'exact'}
  rest['tier'] = 'cpu'
  rows = []
  for row in ROWS:
    row = dict(zip(HEAD, row)) | rest
    row['not_run'] = 'would take 9 hours' if row['claim'] == 'large' else ''
    rows.append(claims.Claim(**dict.fromkeys(claims.WRITTEN, '') | row))
  (folder / 'claims.csv').write_text(claims.to_csv(rows))
  (folder / 'numbers.py').write_text('')
  text = (folder / 'claims.csv').read_text()
  monkeypatch.setattr(protocols, 'committed', lambda *_: (COMMIT, text))
  monkeypatch.setattr(reproduce.computations, 'importlib', _Numbers)
  return folder


class _Numbers:
  """Stands in for the modules of the paper's folder."""

  @staticmethod
  def import_module(name):
    assert name == 'baselines.doe2020.numbers'
    return _Numbers

  @staticmethod
  def half(number):
    return number / 2

  @staticmethod
  def draw(number, seed):
    return number - 1 - (seed - 5) / 10


def run(folder, *arguments):
  argv = ['reproduce.py', f'--output_dir={folder.parent.parent / "runs"}', *arguments]
  return command_line.run(reproduce.main, argv)


def ledger(folder):
  with open(folder / 'claims.csv', newline='') as file:
    return {row['claim']: row for row in csv.DictReader(file)}


def test_from_runs_to_verdicts(paper, capsys):
  assert run(paper, '--tier=paper', '--write') == 0
  rows = ledger(paper)
  assert rows['rate']['ours'] == '0.901'
  assert (rows['rate']['chosen'], rows['rate']['n_seeds']) == ('client_learning_rate=0.3', '3')
  assert (rows['rate']['low'], rows['rate']['high']) == ('0.8985', '0.9035')
  assert rows['order']['ours'] == '0.04771'
  assert rows['both']['ours'] == '0.9482'
  assert (rows['rate']['edge'], rows['edge']['edge']) == ('', 'client_learning_rate=0.3 (largest)')
  assert rows['draw']['ours'] == '1.9'
  assert (rows['exact']['ours'], rows['exact']['low'], rows['exact']['n_seeds']) == ('1.5',) * 2 + (
    '',
  )
  verdicts = {name: row['verdict'] for name, row in rows.items()}
  assert verdicts == {
    'rate': 'reproduced',
    'edge': 'consistent',
    'order': 'reproduced',
    'both': 'reproduced',
    'draw': 'reproduced',
    'exact': 'reproduced',
    'wrong': 'differs',
    'large': 'not run',
  }
  assert rows['rate']['machine'] == '1 core, pretended'
  assert rows['rate']['minutes'] == f'{5 * 3 / 60:.1f}'
  page = (paper / 'README.md').read_text()
  assert page.startswith('# Doe 2020, On Numbers\n\nA paper made up.')
  assert '- published numbers, trained here: 1 reproduced, 1 consistent, 1 not run' in page
  assert '- `edge`: client_learning_rate=0.3 (largest)' in page
  overview = (paper.parent / 'README.md').read_text()
  assert (
    'of 2 published numbers, trained here, 1 reproduced, 1 consistent; '
    'of 1 published orderings and trends, trained here, 1 reproduced. '
    'Everything about the setting is known in 3 of these rows.'
  ) in overview
  assert '| 1 · 1 · 0 · 1 | 1 · 0 · 0 · 0 | 2 · 0 · 1 · 0 | 1 · 0 · 0 · 0 | 0 |' in overview
  assert '- `large`: would take 9 hours' in page
  assert '| 1.9 (1.652 to 2.148) |' in page
  assert 'doe2020/README.md' in (paper.parent / 'README.md').read_text()
  flags = (paper / 'arm.flags').read_text().splitlines()
  assert flags[1] == '# Expected: train/accuracy final: 0.901 (mean of 3 seeds), 0.1 minutes a run.'
  assert '--client_learning_rate=0.3' in flags
  for path, text in reproduce.refreshed(paper).items():
    assert path.read_text() == text


def test_a_protocol_is_registered_before_the_first_run_and_stays(paper, capsys):
  path = paper / 'claims.csv'
  assert run(paper, '--claim=rate', '--write') == 0
  rows = ledger(paper)
  assert rows['rate']['registered'].startswith(f'{COMMIT} ')
  assert rows['exact']['registered'] == ''
  text = path.read_text()
  path.write_text(
    text.replace('"0,1,2",train/accuracy final,0.9', '"0,1",train/accuracy final,0.9')
  )
  assert run(paper, '--claim=rate') == 2
  assert 'let them stay, and add a row with replaces=rate' in capsys.readouterr().err
  path.write_text(text.replace('numbers:half(3)', 'numbers:half(4)'))
  assert run(paper, '--claim=exact', '--write') == 2
  assert 'exact must be committed as it is before its first run' in capsys.readouterr().err
  assert not (paper / 'results' / 'values.csv').exists()


def test_figure_against_a_setting(paper):
  (paper / 'figures.csv').write_text(
    'figure,title,column,studies\n'
    'rates,Rates,train/accuracy final against client_learning_rate,arm other\n'
    'rounds,Rounds,train/accuracy,arm other\n'
    'over,One over the other,train/accuracy over round,arm other\n'
    'table,Table,numbers.csv: y against x,\n'
  )
  (paper / 'results').mkdir()
  (paper / 'results' / 'numbers.csv').write_text('line,x,y\na,1,2\na,2,3\nb,1,4\n')
  assert run(paper, '--claim=rate,order', '--write') == 0
  assert run(paper, '--refresh') == 0
  page = (paper / 'README.md').read_text()
  for name in ('rates', 'rounds', 'over', 'table'):
    assert (paper / 'results' / f'{name}.png').stat().st_size > 1000
    assert f'results/{name}.png' in page


def test_the_ledger_stays_as_it_is_unless_told(paper, capsys):
  before = {path: path.read_bytes() for path in paper.iterdir()}
  assert run(paper, '--claim=rate,exact') == 0
  out = capsys.readouterr().out
  assert '| rate | 0.9 | – | 0.901 (0.8985 to 0.9035) | reproduced |' in out
  assert '| exact | 1.5 | – | 1.5 | reproduced |' in out
  assert {path: path.read_bytes() for path in paper.iterdir()} == before


def test_finished_runs_are_not_repeated(paper, capsys):
  assert run(paper, '--claim=rate') == 0
  assert run(paper, '--claim=rate') == 0
  assert '2 of 2 runs are finished already' in capsys.readouterr().out


def test_runs_that_are_not_made_again_stay(paper):
  """As a row that was replaced needs them."""
  assert run(paper, '--claim=rate', '--write') == 0
  runs = pd.read_csv(paper / 'results' / 'runs.csv')
  curves = pd.read_csv(paper / 'results' / 'arm.csv')
  assert run(paper, '--claim=both', '--write', f'--output_dir={paper.parent / "afresh"}') == 0
  pd.testing.assert_frame_equal(pd.read_csv(paper / 'results' / 'arm.csv'), curves)
  both = pd.read_csv(paper / 'results' / 'runs.csv')
  pd.testing.assert_frame_equal(both[both['study'] == 'arm'].reset_index(drop=True), runs)
  assert set(both['study']) == {'arm', 'other'}
  assert ledger(paper)['rate']['verdict'] == 'reproduced'


def test_runs_that_diverged_have_no_value_in_the_ledger_either(paper):
  assert run(paper, '--claim=rate', '--write') == 0
  path = paper / 'results' / 'runs.csv'
  runs = pd.read_csv(path, keep_default_na=False)
  assert set(runs['diverged']) == {''}
  runs.loc[(runs['cell'] == 'client_learning_rate=0.3') & (runs['seed'] == 1), 'diverged'] = 'yes'
  runs.to_csv(path, index=False)
  arm = studies.load(studies.Study(paper, 'arm'))
  values = analysis.parse_measure(MEASURE).of(arm)
  assert list(values.index[values.isna()]) == ['client_learning_rate=0.3,seed=1']


def test_changed_results_change_the_verdict(paper, capsys):
  assert run(paper, '--claim=rate', '--write') == 0
  path = paper / 'results' / 'arm.csv'
  path.write_text(path.read_text().replace('0.90', '0.80'))
  assert run(paper, '--refresh') == 0
  assert ledger(paper)['rate']['verdict'] == 'consistent'


@pytest.mark.parametrize(
  ('arguments', 'complaint'),
  [
    (['--paper=smith2021'], '--paper=smith2021: accepted are doe2020'),
    (['--claim=nothing'], '--claim=nothing: doe2020 has rate, edge'),
    (['--claim=large'], '--claim=large: cannot be run: would take 9 hours'),
    (['--tier=huge'], '--tier=huge: accepted are smoke, cpu, paper'),
    (['--papers=doe2020'], '--papers: there is no such flag; did you mean --paper?'),
  ],
)
def test_bad_input_is_one_line(paper, capsys, arguments, complaint):
  assert run(paper, *arguments) == 2
  error = capsys.readouterr().err
  assert complaint in error
  assert error.count('\n') == 1


@pytest.mark.parametrize('study', ['numbers:half', 'numbers:half(x)', 'numbers:', 'numbers:none()'])
def test_computation_that_there_is_not(paper, capsys, study):
  path = paper / 'claims.csv'
  path.write_text(path.read_text().replace('numbers:half(3)', study))
  assert run(paper, '--claim=exact') == 2
  assert study in capsys.readouterr().err


def test_quick_look_against_its_band(paper, capsys):
  path: pathlib.Path = paper / 'smoke.csv'
  text = 'study,flags,measure,low,high\narm,--client_learning_rate=0.3,train/accuracy final,{}\n'
  path.write_text(text.format('0.9,0.91'))
  assert run(paper, '--tier=smoke') == 0
  assert '| 0.9 to 0.91 | 0.901 | yes |' in capsys.readouterr().out
  path.write_text(text.format('0.8,0.9'))
  assert run(paper, '--tier=smoke') == 1
  assert '| 0.8 to 0.9 | 0.901 | NO |' in capsys.readouterr().out
  path.write_text(text.format('0.9,little'))
  assert run(paper, '--tier=smoke') == 2
