import hashlib
import io
import tarfile

import numpy as np
import pytest

from fl_research.datasets import shakespeare
from fl_research.datasets.federated_data import DatasetOptions, Problem
from tests.datasets import dataset_checks as checks

PLAY = """<h3>PROLOGUE</h3><blockquote>
<A NAME=1.0.1>Nobody says this.</A><br></blockquote>
<A NAME=speech1><b>FIRST </b></a>
<blockquote>
<A NAME=1.1.1>ab</A><br>
<A NAME=1.1.2>cd{~}</A><br>
<p><i>Exeunt</i></p>
</blockquote>
<A NAME=speech2><b>MUTE</b></a>
<A NAME=speech3><b>ONCE</b></a>
<a name=1.1.3>One line.</a><br>
<A NAME=speech4><b>FIRST</b></a>
<A NAME=1.1.4>e</A><br>
"""


def text_of(tokens) -> str:
  """The characters of a row of tokens; special ones in angle brackets, padding left out."""
  special = {shakespeare.UNKNOWN: '<?>', shakespeare.BEGIN: '<', shakespeare.END: '>'}
  return ''.join(
    special.get(token) or shakespeare.VOCABULARY[token - 1]
    for token in tokens
    if token != shakespeare.PAD
  )


def packed(folder, content: bytes, monkeypatch, name='play.html') -> DatasetOptions:
  """Packs one play as the published plays are, and has its checksum accepted."""
  (folder / 'shakespeare').mkdir()
  path = folder / 'shakespeare' / 'plays_html.tar.gz'
  with tarfile.open(path, 'w:gz') as archive:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
  accept(path, monkeypatch)
  return DatasetOptions(data_dir=str(folder), sequence_length=4)


def accept(path, monkeypatch):
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  monkeypatch.setattr(shakespeare, '_PACKED_SHA256', digest)


def test_a_play_becomes_roles_lines_and_tokens(tmp_path, monkeypatch):
  data = shakespeare.load(packed(tmp_path, PLAY.encode('latin-1'), monkeypatch))
  assert list(data.train.ids) == list(data.test_clients.ids) == ['play/FIRST']
  train, test = data.train.examples(0), data.test_clients.examples(0)
  # Lines ab, cd{~} train; the transitions of <ab\ncd<?><?><?>> in rows of four.
  assert [text_of(row) for row in train['x']] == ['<ab\n', 'cd<?><?>', '<?>']
  assert [text_of(row) for row in train['y']] == ['ab\nc', 'd<?><?><?>', '>']
  assert [text_of(row) for row in test['x']] == ['<e']
  assert [text_of(row) for row in test['y']] == ['e>']
  assert train['y'][2].tolist() == [shakespeare.END, 0, 0, 0]
  checks.assert_form(data, [4], np.int32, [4], np.int32)


def test_vocabulary_is_that_of_tff():
  assert len(set(shakespeare.VOCABULARY)) == 86
  assert (shakespeare.UNKNOWN, shakespeare.BEGIN, shakespeare.END) == (87, 88, 89)
  assert shakespeare.NUM_TOKENS == 90
  assert shakespeare.encode('d\r€é').tolist() == [1, 86, shakespeare.encode('?')[0], 87]


def test_the_published_plays():
  data = shakespeare.load(checks.published('shakespeare', 'plays_html.tar.gz'))
  checks.assert_form(data, [80], np.int32, [80], np.int32)
  assert (data.problem, data.num_classes, len(data.train)) == (Problem.NEXT_TOKEN, 90, 1230)
  assert data.train.ids == data.test_clients.ids
  pool = data.train.pooled()
  for examples in (pool, data.test):
    # Within a row, what is predicted at t is what is read at t + 1.
    inside = examples['x'][:, 1:] != 0
    np.testing.assert_array_equal(examples['x'][:, 1:][inside], examples['y'][:, :-1][inside])
    assert examples['x'].min() == 0 and examples['x'].max() < 90
    # Every row has something to predict.
    assert (examples['y'][:, 0] != 0).all()
  assert (pool['x'] == shakespeare.BEGIN).sum() == (pool['y'] == shakespeare.END).sum() == 1230
  lines = lambda y: int((y == shakespeare.encode('\n')[0]).sum()) + 1230
  # 108,118 spoken lines, less those of the 117 roles that have a single one.
  assert lines(pool['y']) + lines(data.test['y']) == 108_118 - 117
  # The last fifth by role, at least one line.
  assert 0.19 < lines(data.test['y']) / 108_001 < 0.21
  hamlet = data.train.examples(data.train.ids.index('hamlet/HAMLET'))
  assert text_of(hamlet['x'][0]).startswith(
    '<[Aside]  A little more than kin, and less than kind.\n'
  )


def test_the_published_plays_have_the_stated_roles_and_lines():
  plays, sources = shakespeare._plays(checks.published('shakespeare', 'plays_html.tar.gz').data_dir)
  roles = shakespeare._lines_by_role(plays)
  counts = np.array([len(lines) for lines in roles.values()])
  assert (len(plays), len(roles), counts.sum()) == (37, 1347, 108_118)
  assert [(counts >= least).sum() for least in (2, 10, 50)] == [1230, 902, 448]
  assert list(sources) == ['plays_html.tar.gz']
  # What would be downloaded play by play is the same text.
  digests = {
    play: hashlib.sha256(html.encode('latin-1')).hexdigest() for play, html in plays.items()
  }
  assert digests == shakespeare._PLAYS_SHA256


def test_plays_one_by_one_are_read_like_the_packed_ones(tmp_path, monkeypatch):
  (tmp_path / 'shakespeare').mkdir()
  (tmp_path / 'shakespeare' / 'play.html').write_text(PLAY)
  digest = hashlib.sha256(PLAY.encode()).hexdigest()
  monkeypatch.setattr(shakespeare, '_PLAYS_SHA256', {'play': digest})
  data = shakespeare.load(DatasetOptions(data_dir=str(tmp_path)))
  assert list(data.train.ids) == ['play/FIRST']
  assert data.sources == {'play.html': digest}


def test_errors(tmp_path, monkeypatch):
  options = packed(tmp_path, PLAY.encode('latin-1'), monkeypatch)
  path = tmp_path / 'shakespeare' / 'plays_html.tar.gz'
  with checks.one_line_error('--sequence_length=0'):
    shakespeare.load(DatasetOptions(data_dir=str(tmp_path), sequence_length=0))
  path.write_bytes(path.read_bytes()[:-40])
  with checks.one_line_error('plays_html.tar.gz', 'SHA-256'):
    shakespeare.load(options)
  accept(path, monkeypatch)
  with checks.one_line_error('plays_html.tar.gz', 'truncated'):
    shakespeare.load(options)


@pytest.mark.parametrize('content', [b'', b'<html>no plays</html>', b'<A NAME=1.1.1>x</A>'])
def test_a_file_without_roles_is_refused(tmp_path, monkeypatch, content):
  with checks.one_line_error('plays_html.tar.gz', 'no role'):
    shakespeare.load(packed(tmp_path, content, monkeypatch))


def test_without_file_and_network_the_address_is_named(tmp_path, monkeypatch):
  monkeypatch.setattr(shakespeare, '_URL', checks.NOWHERE + '{play}/full.html')
  with checks.one_line_error('1henryiv.html', checks.NOWHERE, str(tmp_path)):
    shakespeare.load(DatasetOptions(data_dir=str(tmp_path)))
