"""What is registered before a run stays, and what counts when a protocol is changed."""

import dataclasses
import subprocess

import pytest

from baselines import claims, protocols
from baselines.claims import Claim
from fl_research.registry import UsageError


def _claim(name='x', **changes) -> Claim:
  written = dict.fromkeys(claims.WRITTEN, '')
  written |= {'kind': 'published number', 'scale': 'exact', 'tier': 'cpu', 'certainty': 'R'}
  written |= {'study': 'arm', 'grid': 'rate=0.1,0.3', 'select': 'train/loss final'}
  written |= {'seeds': '1,2', 'measure': 'eval/accuracy final', 'expected': '0.9'}
  return Claim(**written | {'claim': name} | changes)


def _registered(name='x', **changes) -> Claim:
  claim = _claim(name, **changes)
  return dataclasses.replace(claim, registered=f'0123456789ab {protocols.digest(claim)}')


@pytest.mark.parametrize(
  ('column', 'value'),
  [
    ('seeds', '1,2,3'),
    ('grid', 'rate=0.1,0.3,1'),
    ('measure', 'eval/accuracy last 30'),
    ('select', 'train/accuracy final'),
    ('study', 'other'),
    ('expected', '0.8'),
    ('kind', 'own claim'),
  ],
)
def test_a_registered_protocol_that_was_changed_is_refused(column, value):
  claim = _registered()
  protocols.check([claim])
  changed = dataclasses.replace(claim, **{column: value})
  with pytest.raises(UsageError, match=r'x: .*let them stay, and add a row with replaces=x'):
    protocols.check([changed])
  protocols.check([dataclasses.replace(claim, explanation='as the noise is', scale='analogue')])
  again = dataclasses.replace(changed, claim='y', replaces='x', registered='')
  protocols.check([claim, again])


def test_what_is_replaced_stands_above():
  new = _claim('new', replaces='x')
  protocols.check([_registered(), new])
  for ledger in ([new], [new, _registered()], [_claim('new', replaces='new')]):
    with pytest.raises(UsageError, match=r"replaces '(x|new)': no row above it"):
      protocols.check(ledger)


def test_a_row_is_registered_with_the_commit_it_stands_in(tmp_path):
  git = lambda *words: subprocess.run(
    ['git', '-C', str(tmp_path), '-c', 'user.name=a', '-c', 'user.email=a@b', *words],
    check=True,
    capture_output=True,
  )
  git('init', '-q')
  folder = tmp_path / 'doe2020'
  folder.mkdir()
  path = folder / 'claims.csv'
  path.write_text(claims.to_csv([_claim()]))
  with pytest.raises(UsageError, match=r'doe2020/claims.csv: x must be committed as it is before'):
    protocols.register(folder, _claim())
  git('add', '.')
  git('commit', '-q', '-m', 'a row')
  registered = protocols.register(folder, _claim())
  head, text = protocols.committed(folder, 'HEAD')
  assert registered.registered == f'{head} {protocols.digest(_claim())}'
  assert protocols.commit(registered) == head and not protocols.is_late(registered)
  assert protocols.stands(registered, text)
  with pytest.raises(UsageError, match='must be committed'):
    protocols.register(folder, _claim(seeds='1,2,3'))
  with pytest.raises(UsageError, match='must be committed'):
    protocols.register(folder, _claim('other'))


def test_a_registered_row_cannot_vanish(monkeypatch, tmp_path):
  old, other = _registered(), _claim('other')
  monkeypatch.setattr(protocols, 'committed', lambda *_: ('', claims.to_csv([old, other])))
  protocols.check_kept(tmp_path, [dataclasses.replace(old, explanation='why'), _claim('new')])
  for ledger in ([other], [dataclasses.replace(old, registered='')]):
    with pytest.raises(UsageError, match=r'x was registered \(0123456789ab \w{8}\) and must stay'):
      protocols.check_kept(tmp_path, ledger)


def test_a_claim_counts_once_by_its_first_protocol():
  first = _claim(edge='rate=0.3 (largest)', verdict='consistent')
  seeds = _claim('seeds', replaces='x', seeds='1,2,3', verdict='reproduced')
  wider = _claim('wider', replaces='x', grid='rate=0.1,0.3,1', verdict='reproduced')
  names = lambda *ledger: [claim.claim for claim in protocols.counted(ledger)]
  assert names(first) == ['x']
  assert names(first, seeds) == ['x']
  assert names(first, wider) == ['wider']
  assert names(first, seeds, dataclasses.replace(wider, replaces='seeds')) == ['x']
  assert names(dataclasses.replace(first, edge=''), wider) == ['x']
  assert names(first, dataclasses.replace(wider, grid='rate=0.1,1')) == ['x']
  assert names(first, dataclasses.replace(wider, seeds='1,2,3')) == ['x']


def test_pages_show_the_row_with_most_seeds():
  first, fewer, more = _claim(), _claim('fewer', seeds='1'), _claim('more', seeds='1,2,3')
  names = lambda *replacing: [
    claim.claim
    for claim in protocols.fullest(
      [first, *(dataclasses.replace(r, replaces='x') for r in replacing)]
    )
  ]
  assert names(fewer) == ['x']
  assert names(fewer, more) == ['more']
  assert names(_claim('wider', grid='rate=0.1,0.3,1')) == ['wider']
  assert names(_claim('longer', study='other')) == ['x', 'longer']
