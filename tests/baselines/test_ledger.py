"""The committed ledger: verdicts, READMEs and flag files are what its results say."""

import dataclasses

import pytest

from baselines import claims, flag_files, readme, reproduce, smoke
from baselines.claims import Claim
from experiments import command_line
from fl_research.registry import UsageError
from fl_research.soundness import validation

PAPERS = {folder.name: folder for folder in reproduce.papers()}
FLAG_FILES = sorted(path for folder in PAPERS.values() for path in folder.glob('*.flags'))


@pytest.mark.parametrize('paper', PAPERS)
def test_everything_generated_is_what_the_results_say(paper):
  for path, text in reproduce.refreshed(PAPERS[paper]).items():
    assert path.read_text() == text, f'make generated ({path.name})'


def test_overview_is_what_the_claims_say():
  ledger = {folder: reproduce.ledger(folder) for folder in PAPERS.values()}
  overview = (reproduce.HERE / 'README.md').read_text()
  assert overview == readme.render_all(ledger), 'make generated'


@pytest.mark.parametrize('paper', PAPERS)
def test_every_claim_has_a_verdict_or_a_reason(paper):
  for claim in reproduce.ledger(PAPERS[paper]):
    assert claim.verdict in claims.VERDICTS, claim.claim
    assert bool(claim.not_run) == (claim.verdict == claims.NOT_RUN)
    if claim.verdict in (claims.REPRODUCED, claims.SCALED_DOWN):
      assert claim.low and claim.high
    if claim.verdict == claims.DIFFERS:
      assert claim.explanation, f'{claim.claim} differs: why?'


@pytest.mark.parametrize('path', FLAG_FILES, ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_flag_file_is_short_and_valid(path):
  text = path.read_text()
  assert len(text.splitlines()) <= flag_files.MOST_LINES
  assert text.startswith('# ')
  values = command_line.flags.FlagValues()
  command_line.define_settings_flags(values)
  command_line.parse(values, ['train', f'--flagfile={path}', '--experiment_name=parsed'])
  validation.validate(command_line.to_settings(values))


@pytest.mark.parametrize('paper', PAPERS)
def test_quick_look_names_studies_that_there_are(paper):
  for row in smoke.rows(PAPERS[paper]):
    assert (PAPERS[paper] / f'{row["study"]}.flags').exists()


def _claim(**changes) -> Claim:
  written = dict.fromkeys(claims.WRITTEN, '')
  written |= {'claim': 'x', 'scale': 'exact', 'expected': '10', 'tolerance': '±2'}
  return Claim(**written | changes)


@pytest.mark.parametrize(
  ('changes', 'result', 'verdict'),
  [
    ({}, (11, 5, 17), 'reproduced'),
    ({}, (13, 9, 17), 'differs'),
    ({'tolerance': '×2'}, (19, 5, 30), 'reproduced'),
    ({'tolerance': '×2'}, (4.9, 4, 6), 'differs'),
    ({'scale': 'analogue'}, (10, 9, 11), 'scaled down'),
    ({'expected': '> 3'}, (5, 3.1, 7), 'reproduced'),
    ({'expected': '> 3'}, (5, 2.9, 7), 'differs'),
    ({'expected': '< 3'}, (1, 0, 2.9), 'reproduced'),
    ({'expected': '< 3'}, (1, 0, 3.1), 'differs'),
    ({'expected': '< 3'}, (float('nan'),) * 3, 'differs'),
    ({}, (float('nan'),) * 3, 'differs'),
  ],
)
def test_verdict(changes, result, verdict):
  assert claims.verdict(_claim(**changes), *result) == verdict


@pytest.mark.parametrize(
  'changes',
  [{'expected': 'many'}, {'expected': '> many'}, {'tolerance': '2'}, {'tolerance': '±much'}],
)
def test_expectation_that_cannot_be_understood(changes):
  with pytest.raises(UsageError, match='x: '):
    claims.parse_expectation(_claim(**changes))


@pytest.mark.parametrize(
  ('column', 'value', 'complaint'),
  [
    ('scale', 'large', 'scale'),
    ('tier', 'slow', 'tier'),
    ('certainty', 'M', 'certainty'),
    ('measure', '', 'needs measure'),
    ('select', '', 'needs select'),
    ('study', 'arm * other', 'between studies'),
  ],
)
def test_claims_file_that_is_wrong(tmp_path, column, value, complaint):
  good = _claim(
    certainty='R',
    tier='cpu',
    study='arm',
    seeds='1,2',
    grid='client_learning_rate=1,2',
    select='train/loss final',
    measure='train/loss final',
  )
  path = tmp_path / 'claims.csv'
  path.write_text(claims.to_csv([good]))
  assert claims.read_claims(path) == [good]
  path.write_text(claims.to_csv([dataclasses.replace(good, **{column: value})]))
  with pytest.raises(UsageError, match=complaint):
    claims.read_claims(path)


def test_claim_that_is_there_twice(tmp_path):
  claim = _claim(certainty='R', tier='cpu', study='module:function()')
  path = tmp_path / 'claims.csv'
  path.write_text(claims.to_csv([claim, claim]))
  with pytest.raises(UsageError, match='twice'):
    claims.read_claims(path)
