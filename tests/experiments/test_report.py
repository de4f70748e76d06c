"""The one-page report."""

import html.parser
import re

import pytest

from experiments import command_line, report
from tests.analysis.fabricate import write_run

VOID = {'meta', 'br', 'use', 'path'}


def run(*arguments):
  return command_line.run(report.main, ['report.py', *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
  for rate in (0.1, 1.0):
    for seed in (0, 1):
      accuracy = [0.1, 0.5, 0.3 + rate / 2 + seed / 100]
      write_run(
        tmp_path / 'runs' / f'r{rate}s{seed}',
        {'eval/accuracy': accuracy, 'eval/loss': [2, 1, 0.5], 'bytes_up': [None, 1000, 1000],
         'seconds': [1.0, 1.0, 1.0]},
        [[2, f'<c{i}>', 'eval', 3, 'accuracy', i / 4] for i in range(5)],
        client_learning_rate=rate,
        seed=seed,
      )  # fmt: skip
  return tmp_path / 'runs'


class Balance(html.parser.HTMLParser):
  """Sees that every element is closed, in order, and gathers the text."""

  def __init__(self):
    super().__init__()
    self.open, self.text = [], []

  def handle_starttag(self, tag, attributes):
    if tag not in VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    if tag not in VOID:
      assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


def test_page_stands_alone_and_holds_the_numbers(folder, tmp_path):
  out = tmp_path / 'page.html'
  arguments = ['--measure=eval/accuracy final', '--target=0.45']
  assert run(folder, '--out', out, *arguments) == 0
  page = out.read_text()
  parsed = Balance()
  parsed.feed(page)
  assert not parsed.open
  # Names of XML's dialects are no addresses that anything is fetched from.
  fetched = re.findall(r'(?:src|href)="(?!#)[^"]*"|url\((?!#)[^)]*\)|@import|<script', page)
  assert not fetched
  text = ' '.join(parsed.text)
  for expected in ('0.805', '0.355', '8 kB', 'client_learning_rate', '2 of 2', 'worst10', 'gini'):
    assert expected in text, expected
  assert page.count('<svg') >= 5
  assert 'prefers-color-scheme: dark' in page and '@media print' in page
  assert '#010203' not in page
  assert 'best on the test set; settings chosen by it' in text
  best = re.search(r'<tr class="best"><td[^>]*>([^<]*)<', page)
  assert best and best[1] == '1'


def test_diverged_runs_are_marked(tmp_path):
  write_run(tmp_path / 'runs' / 'a', {'eval/accuracy': [0.1, 0.9]}, manifest={'diverged': True})
  write_run(tmp_path / 'runs' / 'b', {'eval/accuracy': [0.1, 0.8]}, seed=1)
  out = tmp_path / 'page.html'
  assert run(tmp_path / 'runs', '--out', out, '--measure=eval/accuracy final') == 0
  page = out.read_text()
  assert 'Diverged, and so without a result: 1 run' in page
  assert '>diverged<' in page


def test_names_are_escaped(folder, tmp_path):
  write_run(folder / '<b>bold', {'eval/accuracy': [0.1, 0.2]}, algorithm='<script>', seed=5)
  assert run(folder, '--out', tmp_path / 'page.html', '--measure=eval/accuracy final') == 0
  page = (tmp_path / 'page.html').read_text()
  assert '<script>' not in page and '<b>bold' not in page
  assert 'Cells with one run have no interval' in page


def test_without_clients_bytes_or_differences(tmp_path):
  write_run(tmp_path / 'run', {'train/loss': [None, 1.0]}, manifest={'finished': False})
  assert run(tmp_path, '--out', tmp_path / 'page.html', '--measure=train/loss final') == 0
  page = (tmp_path / 'page.html').read_text()
  assert 'no run has a clients.csv' in page
  assert 'Unfinished: 1 run (run).' in page


def test_more_cells_than_a_figure_can_show(tmp_path):
  for number in range(12):
    write_run(tmp_path / f'r{number}', {'train/loss': [None, number]}, client_learning_rate=number)
  assert run(tmp_path, '--out', tmp_path / 'page.html', '--measure=train/loss final') == 0
  page = (tmp_path / 'page.html').read_text()
  assert 'Figures show the 8 best cells; 4 others are in tables only.' in page
  assert 'client_learning_rate=0' in page and 'client_learning_rate=11' not in page


@pytest.mark.parametrize(
  'arguments, message',
  [
    ([], 'nothing: expected is FOLDER'),
    (['{f}/none'], '{f}/none: there is no such folder'),
    (['{f}/empty'], '{f}/empty: there are no runs'),
    (['{f}'], 'of different tasks (digits, mnist)'),
    (['{f}/a', '--measure=eval/f1 final'], 'eval/f1: no column of metrics.csv'),
    (['{f}/a', '--measure=best'], "'best': is not a measure"),
    (['{f}/a', '--measure=eval/accuracy last 9'], '"eval/accuracy last 9": the runs have 1 round'),
    (['{f}/a', '--by=rate'], 'rate: none of the runs has such a setting'),
    (['{f}/a', '--out={f}/no/page.html'], '--out={f}/no/page.html: there is no folder {f}/no'),
    (['{f}/a', '--target=high'], '--target=high: accepted is a number'),
  ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, message):
  write_run(tmp_path / 'a', {'eval/accuracy': [0.1, 0.2]})
  write_run(tmp_path / 'b', {'eval/accuracy': [0.1]}, task='mnist')
  (tmp_path / 'empty').mkdir()
  assert run(*(argument.format(f=tmp_path) for argument in arguments)) == 2
  error = capsys.readouterr().err
  assert message.format(f=tmp_path) in error
  assert error.count('\n') == 1


def test_by_default_the_end_of_the_runs_and_not_their_mean(tmp_path):
  accuracy = [r / 40 for r in range(31)]
  write_run(tmp_path / 'runs' / 'a', {'eval/accuracy': accuracy}, total_rounds=30)
  write_run(tmp_path / 'runs' / 'b', {'eval/accuracy': accuracy[:3]}, total_rounds=30, seed=1)
  assert run(tmp_path / 'runs', '--out', tmp_path / 'page.html') == 0
  page = (tmp_path / 'page.html').read_text()
  assert 'eval/accuracy last 3: mean over seeds' in page
  assert 'Ended before 3 rounds, so that all their rounds are averaged: 1 run (b).' in page
