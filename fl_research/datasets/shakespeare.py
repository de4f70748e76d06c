"""Shakespeare's plays: which character comes next? A client is a role of a play.

The 37 plays as HTML of MIT's edition (github.com/TheMITTech/shakespeare, public domain), split as
in McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data"
(AISTATS, 2017): every role with at least two lines is a client (1,230 of 1,347 roles; theirs, from
another edition, are 1,146), its first 80 % of lines train and its later lines, at least one, are
its test part. Lines that nobody speaks (prologues) are left out: 108,118 remain.

Characters become the 90 tokens of TFF's Shakespeare, so that models can move between the two:
0 = padding, 1..86 = the characters of `VOCABULARY` in order, 87 = any other, 88 = begin, 89 = end.
A part's lines, joined by line feeds, between begin and end, are one stream of tokens, cut into
examples of `sequence_length` (80): x int32 [80] is tokens t, y int32 [80] tokens t + 1, and the
last example is filled with 0, which is not scored. Unlike TFF's, pieces overlap by the one token
that is both the last y and the next x, so that every token after begin is predicted exactly once.
"""

from collections.abc import Iterator, Mapping
import re
import tarfile

import numpy as np

from fl_research.datasets import files
from fl_research.datasets.federated_data import (
  ContiguousClients,
  DatasetOptions,
  FederatedData,
  Problem,
)
from fl_research.datasets.splits import TEST_FRACTION
from fl_research.registry import UsageError

VOCABULARY = (
  'dhlptx@DHLPTX $(,048cgkoswCGKOSW[_#\'/37;?bfjnrvzBFJNRVZ"&*.26:\naeimquyAEIMQUY]!%)-159\r'
)
"""The 86 characters, in TFF's order (tff.simulation.baselines.shakespeare)."""

PAD, UNKNOWN, BEGIN, END = 0, len(VOCABULARY) + 1, len(VOCABULARY) + 2, len(VOCABULARY) + 3
NUM_TOKENS = len(VOCABULARY) + 4

_FOLDER = 'shakespeare'
_PACKED = 'plays_html.tar.gz'
_PACKED_SHA256 = '1c8de497da0abdca73eaf091ba53c057633ee4f7cc04f0e5800d40d5a93904a0'
_URL = (
  'https://raw.githubusercontent.com/TheMITTech/shakespeare/'
  '6b82db852c7322dd33e95db347f0ddfc812c6409/{play}/full.html'
)
_PLAYS_SHA256 = {
  '1henryiv': '69e80265106424a7656f404f3c236e1bf513d9e39c71b871c0dfcd043473e405',
  '1henryvi': '7cd9c35e008d40015550ac77ebce372f1fea940a3d6cb0ed29bf74194af1cebd',
  '2henryiv': 'bbdaf77467c5c97e6135332d13ef7375fb470cce88cf06741e1221ace3d016e1',
  '2henryvi': '4614f8eee4b97ea46150122926f43404648197f9cb1408a684b7ab4e604d0279',
  '3henryvi': '8b24bb4b26f5e5d0cb7d0d9489fa8635149431625e86f7d5dc3a92067c75e26a',
  'allswell': '94ea943a80448b6a818961290dcf42ffb15d5ffc8d98be8f52351d89f67b4eed',
  'asyoulikeit': '848c6b7fccdb87aeb8d0fb1e461fcc2c6ff5958195f6d4364cdeb9df5acb8ec7',
  'cleopatra': 'cb4e5a1e4edb60c73eb7921fa2c4433be4f3e95416cdcfe317f8856638b42742',
  'comedy_errors': 'b5283e52606d57f7c09c86049a9965be08cd22fe2ff22d775e39a69addb04a81',
  'coriolanus': '5110948dc73dd582138d7ebf1b8dc0ecb964943d135b3d83f3782344768efb6d',
  'cymbeline': '6aa008979f3875d51caa7e1e3fb541b2565b97c3e4bab6019e34a7020f2dcb94',
  'hamlet': 'f677d3c9a7ccb82b5f9ec20f9327fdc6e357e2311366a16ad64d656517d82866',
  'henryv': '4bd0c2a2a3fecdadc82ba335d9070d8f583369a9596174958f1b73a2302a9650',
  'henryviii': '65d22870ab8e8eb7596f0b00a34ddfbdd92257820d871e264c137af032a00573',
  'john': 'a95f79d4881e06ee9cc52133dafc7bbf582107cff8d522f03f6c50f08ef47a22',
  'julius_caesar': '1b820bfeedb45303ab059f4c6c1bce3b9d7ce130a2422116aa0bc4581ee031fa',
  'lear': 'fe7f83c3a54308b73b3221e928b850352a647c2f1bb555646bf644b873f293bc',
  'lll': '0b159db8f20f4c6c8de92dd2db96457f6affe1e7dd137389dbbdc4970f2deb36',
  'macbeth': 'd1489188f81c4f0ff4b8ed8df5154df76a79ccb0ec8328a577a3fbf89bd113b7',
  'measure': '77e3b622779e3829502c8dcdb6b697ae7021675161bb26ccb263339b7d1adb44',
  'merchant': '39cb40b75efbef5b23df3cb984dda2db2914c2d4f77ba72d1978ae463a2e0d00',
  'merry_wives': '658f66c0387579df3ca2d25ed85fcf8851ccaac16deee1a00d9c4dbf9f1e2389',
  'midsummer': 'b6a1f8fd3099cfc1f8d4199907ebcc9ad7a673d8a154a08904eda95f18fb547e',
  'much_ado': 'edd3c781d777b1a6abca76e15b6c3f4b8a79fd7d9e63b920d16588d53051d1be',
  'othello': 'ea95d7b751d67809b2cd8792ad3ca55a36aa8c8d7979165e53c9f34d8036a08d',
  'pericles': '89622d8a3e1d283e5d5061882617f7f71c515dc2552eeb15044cbf7ed5fb0b32',
  'richardii': 'b3fa97338c61e9c9e67fcbdcda21c11bea21470aeda672cf6ced8a4b2422d373',
  'richardiii': '4656be3b262028ece67f2ae60efcfcd11aea4401cb58706b994deee09b307b39',
  'romeo_juliet': '0cf9083fdc2ba5f1b1a88700c8429742a3734379038fa4d7698323224d1bc9dd',
  'taming_shrew': '88b2885c14bf5068135b166fc7ace8d1b7e0bbb3a70d2abe0f77abd315a616c8',
  'tempest': 'c3ed4bec5e1f07801ac9ef0ee0ae93e892ded38796bda443d51a5c78b76c3440',
  'timon': '3616850447512323a3ae813c1437da9a19457b1f34a549b03ff39c1402c50c11',
  'titus': '80ee75a49de4b4560343fea4e514749a6506f7811ef9e27ab68896ff5bf67d57',
  'troilus_cressida': '78983aa2bbc300416c2dc14edf5eb00e595693cb01bbe1d8de1db91ec719dd05',
  'twelfth_night': '0b738f028caa2541d96838a859c14152d690272970649cb82f428ce1dfcc7106',
  'two_gentlemen': '3cedd433df03b617c9b5d66481b3e778970a3e1306da4a147ba997311c6bfeb0',
  'winters_tale': '09ec2501fc25dc9fad5061513be93ffaaf051fe14f04e59e430da77af745b34b',
}
_MARK = re.compile(
  r'<A NAME=speech\d+><b>(?P<role>[^<]*)</b>|<A NAME=\d+\.\d+\.\d+>(?P<line>[^<]*)</A>',
  re.IGNORECASE,
)


def load(options: DatasetOptions) -> FederatedData:
  """Reads the plays by role; reads `options.data_dir` and `options.sequence_length`.

  Raises:
    UsageError: a file is missing, damaged, or not in the published format; or the sequence length
      is below 1.
  """
  length = 80 if options.sequence_length is None else options.sequence_length
  if length < 1:
    raise UsageError(f'--sequence_length={length}: must be at least 1')
  plays, sources = _plays(options.data_dir)
  roles = {role: lines for role, lines in _lines_by_role(plays).items() if len(lines) >= 2}
  if not roles:
    raise UsageError(f'{", ".join(sources)}: no role with two lines in it')
  ids = [f'{play}/{role}' for play, role in roles]
  firsts, laters = zip(*(_first_and_later(lines) for lines in roles.values()))
  train, test = (_clients(parts, ids, length) for parts in (firsts, laters))
  return FederatedData(
    train=train,
    test=test.pooled(),
    problem=Problem.NEXT_TOKEN,
    num_classes=NUM_TOKENS,
    test_clients=test,
    sources=sources,
  )


def encode(text: str) -> np.ndarray:
  """Token of every character of a text, uint8 [characters], without begin and end."""
  # Outside Latin-1 there is no character of the vocabulary either: '\x00' stands for those.
  return _TOKEN_OF_BYTE[np.frombuffer(text.encode('latin-1', 'replace'), np.uint8)]


def _token_of_byte() -> np.ndarray:
  table = np.full(256, UNKNOWN, np.uint8)
  table[np.frombuffer(VOCABULARY.encode('latin-1'), np.uint8)] = np.arange(1, UNKNOWN)
  return table


_TOKEN_OF_BYTE = _token_of_byte()


def _plays(data_dir: str) -> tuple[dict[str, str], dict[str, str]]:
  """HTML by play, and SHA-256 by file; from one packed file if it is there, else play by play."""
  if files.find(data_dir, _FOLDER, _PACKED):
    path = files.fetch(data_dir, _FOLDER, _PACKED, _URL.format(play='*'), _PACKED_SHA256)
    return _unpack(path), {_PACKED: files.sha256_of(path)}
  plays = {}
  for play, sha256 in _PLAYS_SHA256.items():
    name = f'{play}.html'
    path = files.fetch(data_dir, _FOLDER, name, _URL.format(play=play), sha256)
    plays[play] = files.read_bytes(path).decode('latin-1')
  return plays, {f'{play}.html': sha256 for play, sha256 in _PLAYS_SHA256.items()}


def _unpack(path) -> dict[str, str]:
  plays = {}
  with files.reading(path), tarfile.open(path) as archive:
    for member in archive:
      if (stream := archive.extractfile(member)) is not None:
        plays[member.name.removesuffix('.html')] = stream.read().decode('latin-1')
  return plays


def _lines_by_role(plays: Mapping[str, str]) -> dict[tuple[str, str], list[str]]:
  """Lines by (play, role), both in order of appearance."""
  roles: dict[tuple[str, str], list[str]] = {}
  for play, html in plays.items():
    for role, line in _spoken(html):
      roles.setdefault((play, role), []).append(line)
  return roles


def _spoken(html: str) -> Iterator[tuple[str, str]]:
  """Yields (role, line); what comes before anybody speaks is dropped."""
  role = None
  for mark in _MARK.finditer(html):
    if mark['role'] is not None:
      role = mark['role'].strip()
    elif role is not None:
      yield role, mark['line']


def _first_and_later(lines: list[str]) -> tuple[str, str]:
  later = max(1, int(TEST_FRACTION * len(lines) + 0.5))
  return '\n'.join(lines[:-later]), '\n'.join(lines[-later:])


def _clients(texts: tuple[str, ...], ids: list[str], length: int) -> ContiguousClients:
  """Examples of all texts, one text per client, written into two arrays made beforehand."""
  # A text of n characters, with begin and end, has n + 1 transitions.
  counts = np.array([-(-(len(text) + 1) // length) for text in texts])
  offsets = np.concatenate([[0], np.cumsum(counts)])
  x, y = (np.full((offsets[-1], length), PAD, np.int32) for _ in 'xy')
  for text, first, last in zip(texts, offsets, offsets[1:]):
    tokens = np.concatenate([[BEGIN], encode(text), [END]])
    x[first:last].reshape(-1)[: len(tokens) - 1] = tokens[:-1]
    y[first:last].reshape(-1)[: len(tokens) - 1] = tokens[1:]
  return ContiguousClients({'x': x, 'y': y}, offsets, ids)
