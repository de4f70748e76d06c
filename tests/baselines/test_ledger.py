"""The committed ledger: verdicts, READMEs and flag files are what its results say."""

import dataclasses

import numpy as np
import pytest

from baselines import claims, flag_files, measurement, protocols, readme, reproduce, smoke
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
  page = (reproduce.HERE.parent / 'README.md').read_text()
  assert readme.with_headline(page, ledger) == page, 'make generated'
  assert 'published numbers, trained here' in page


@pytest.mark.parametrize('paper', PAPERS)
def test_protocols_stood_where_they_were_registered(paper):
  protocols.check_kept(PAPERS[paper], reproduce.ledger(PAPERS[paper]))
  for claim in reproduce.ledger(PAPERS[paper]):
    assert bool(claim.registered) != bool(claim.not_run), claim.claim
    _, text = protocols.committed(PAPERS[paper], protocols.commit(claim) or 'none')
    if text:  # A shallow clone has no history.
      assert protocols.stands(claim, text), claim.claim


@pytest.mark.parametrize('paper', PAPERS)
def test_every_claim_has_a_verdict_or_a_reason(paper):
  for claim in reproduce.ledger(PAPERS[paper]):
    assert claim.verdict in claims.VERDICTS, claim.claim
    assert bool(claim.not_run) == (claim.verdict == claims.NOT_RUN)
    if claim.verdict in (claims.REPRODUCED, claims.CONSISTENT):
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
  written |= {'claim': 'x', 'kind': 'published number', 'scale': 'exact', 'study': 'arm'}
  written |= {'expected': '0.9', 'measure': 'eval/accuracy final', 'seeds': '1,2'}
  return Claim(**written | changes)


ROUNDS = {'expected': '120', 'measure': 'eval/accuracy rounds to 0.97'}
COMPUTED = {'kind': 'computed', 'study': 'module:function()', 'measure': '', 'seeds': ''}
ORDERING = {'kind': 'published ordering', 'study': 'one - other'}


@pytest.mark.parametrize(
  ('changes', 'low', 'high', 'verdict'),
  [
    ({}, 0.891, 0.909, 'reproduced'),
    ({}, 0.895, 0.911, 'consistent'),
    ({}, 0.85, 0.95, 'consistent'),  # The mean is exact, but it could be anything.
    ({}, 0.911, 0.92, 'differs'),
    ({}, 0.88, 0.889, 'differs'),
    ({}, float('nan'), float('nan'), 'differs'),
    ({'scale': 'analogue'}, 0.891, 0.909, 'reproduced'),
    ({'expected': '0.9 ± 0.03'}, 0.88, 0.92, 'reproduced'),
    ({'expected': '0.9 ± 0.03'}, 0.85, 0.95, 'consistent'),
    (ROUNDS, 81, 179, 'reproduced'),
    (ROUNDS, 70, 179, 'consistent'),
    (ROUNDS, 181, 190, 'differs'),
    ({**COMPUTED, 'expected': '1.73'}, 1.7349, 1.7349, 'reproduced'),
    ({**COMPUTED, 'expected': '1.73'}, 1.7351, 1.7351, 'differs'),
    ({**COMPUTED, 'expected': '1.730'}, 1.7349, 1.7349, 'differs'),
    ({**COMPUTED, 'expected': '1.73'}, 1.72, 1.74, 'consistent'),
    ({**ORDERING, 'expected': '> 0'}, 1e-9, 7, 'reproduced'),
    ({**ORDERING, 'expected': '> 0'}, -1e-9, 7, 'consistent'),
    ({**ORDERING, 'expected': '> 0'}, -7, -1e-9, 'differs'),
    ({**ORDERING, 'expected': '> 0'}, 0, 0, 'differs'),
    ({**ORDERING, 'expected': '< 0'}, -7, -1e-9, 'reproduced'),
  ],
)
def test_verdict(changes, low, high, verdict):
  assert claims.verdict(_claim(**changes), low, high, edge='') == verdict
  at_edge = {'reproduced': 'consistent'}.get(verdict, verdict)
  assert claims.verdict(_claim(**changes), low, high, edge='rate=1 (largest)') == at_edge


def test_ratios_and_rounds_have_intervals_of_logarithms():
  """A plain interval of these three ratios begins at -0.39."""
  ratios = np.array([0.1, 0.4, 0.9])
  mean, low, high = measurement.summary(ratios, relative=True)
  assert mean == pytest.approx(0.036 ** (1 / 3))
  assert low > 0
  assert low * high == pytest.approx(mean**2)
  assert measurement.summary(ratios, relative=False)[1] == pytest.approx(-0.537, abs=1e-3)
  assert _claim(**ROUNDS).relative and _claim(study='one / other').relative
  assert not _claim(**ROUNDS | {'study': 'one - other'}).relative
  assert _claim(**COMPUTED, expected='< 1').relative


@pytest.mark.parametrize(
  'changes',
  [
    {'expected': 'many'},
    {'expected': '> many'},
    {'expected': '3 ± many'},
    {'measure': 'eval/loss final'},
  ],
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
    ('kind', 'number', 'kind'),
    ('kind', 'computed', 'study must be module:function'),
    ('open', 'batch', 'not with batch open'),
    ('open', 'luck', 'open .luck.: accepted are data'),
    ('scale', 'as far as known', 'open must name'),
    ('expected', '> 0.1', 'a published number is a number'),
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
    measure='eval/accuracy final',
  )
  path = tmp_path / 'claims.csv'
  path.write_text(claims.to_csv([good]))
  assert claims.read_claims(path) == [good]
  ordering = dataclasses.replace(good, kind='published ordering', study='arm / other')
  path.write_text(claims.to_csv([dataclasses.replace(ordering, expected='< 1')]))
  assert len(claims.read_claims(path)) == 1
  path.write_text(claims.to_csv([dataclasses.replace(ordering, expected='< 0.9')]))
  with pytest.raises(UsageError, match='orderings have no margin; accepted are > and < 1'):
    claims.read_claims(path)
  path.write_text(claims.to_csv([dataclasses.replace(good, **{column: value})]))
  with pytest.raises(UsageError, match=complaint):
    claims.read_claims(path)


def test_claim_that_is_there_twice(tmp_path):
  claim = _claim(certainty='R', tier='cpu', study='module:function()')
  path = tmp_path / 'claims.csv'
  path.write_text(claims.to_csv([claim, claim]))
  with pytest.raises(UsageError, match='twice'):
    claims.read_claims(path)
