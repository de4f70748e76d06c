"""New texts, as the model of a run on text takes them.

In any form that text is trained on: .txt, a folder of them, a table, LEAF's JSON, TFF's HDF5 and
SQLite, whatever form the run had. To be answered, a text's end is given to the model, as long as an
example; to be evaluated, all of it is cut into examples, as in training.
"""

from collections.abc import Iterator, Mapping, Sequence
import itertools
from typing import Any, NamedTuple, Optional

import numpy as np
import pandas as pd

from fl_research.importing import dialect, forms, leaf, text, tff_files, tokens
from fl_research.registry import UsageError

_NUMBERS_AT_ONCE = 20_000_000


class New(NamedTuple):
  """Some new texts.

  Attributes:
    x, y: as the model takes them; y is None where nobody asked for it.
    places: the place of each at which what follows is predicted; None where y is there.
    told: what the answers are put beside.
  """

  x: np.ndarray
  y: Optional[np.ndarray]
  places: Optional[np.ndarray]
  told: pd.DataFrame


class _Some(NamedTuple):
  """Texts, what follows each where that is told apart (LEAF), and what they are put beside."""

  told: pd.DataFrame
  texts: Sequence[str]
  following: Optional[Sequence[str]] = None


def read(how: Mapping[str, Any], path: str, given: dialect.Given, labels: bool) -> Iterator[New]:
  """New texts, a bounded number at a time.

  Args:
    how: the run's `preprocessing`.
    path: a file or folder.
    given: what the user says of a CSV.
    labels: whether to evaluate: all tokens of the texts are to be predicted.

  Raises:
    UsageError: there are none, or they are of no form that is text; one line.
  """
  vocabulary = tokens.from_preprocessing(how)
  for some in _texts(how, path, given):
    if labels:
      yield from _labelled(how, vocabulary, some, path)
    else:
      yield from _endings(how, vocabulary, some)


def _texts(how: Mapping[str, Any], path: str, given: dialect.Given) -> Iterator[_Some]:
  task = forms.find(path, text_column=True).task
  column = how.get('column')
  if task == 'text':
    yield from itertools.starmap(_Some, text.new(path, given, column))
  elif task == 'leaf':
    for client, x, y in leaf.new(path):
      if not all(isinstance(line, str) for line in [*x, *(y or ())]):
        raise UsageError(f'--data_file={path}: user {client} has x that are no texts')
      yield _Some(pd.DataFrame({'client': [client] * len(x)}), x, y)
  elif task == 'tff_files':
    feature = column or 'snippets'
    for client, features in tff_files.new(path, [feature]):
      own = [snippet.decode(errors='replace') for snippet in features[feature]]
      yield _Some(pd.DataFrame({'client': [client] * len(own), feature: own}), own)
  else:
    raise UsageError(
      f'--data_file={path}: is no text; the run was trained on text, and takes .txt, a table with '
      "texts, LEAF's JSON or TFF's files"
    )


def _endings(how: Mapping[str, Any], vocabulary: tokens.Vocabulary, some: _Some) -> Iterator[New]:
  most = max(1, _NUMBERS_AT_ONCE // (how['sequence_length'] * vocabulary.num_tokens))
  for first in range(0, len(some.texts), most):
    texts = some.texts[first : first + most]
    told = some.told.iloc[first : first + most].reset_index(drop=True)
    if how.get('lines'):
      x = np.stack([vocabulary.line(own) for own in texts])
      yield New(x, None, np.full(len(x), x.shape[1] - 1), told)
    else:
      x, places = zip(*[vocabulary.ending(own) for own in texts])
      yield New(np.stack(x), None, np.array(places), told)


def _labelled(
  how: Mapping[str, Any], vocabulary: tokens.Vocabulary, some: _Some, path: str
) -> Iterator[New]:
  if bool(how.get('lines')) != (some.following is not None):
    form = "LEAF's lines with the next character" if how.get('lines') else 'whole texts'
    raise UsageError(f'--data_file={path}: the run was trained on {form}; evaluate it on such')
  for row, own in enumerate(some.texts):
    if some.following is None:
      x, y = (vocabulary.examples(own)[key] for key in 'xy')
    else:
      x = vocabulary.line(own)[np.newaxis]
      y = np.full_like(x, tokens.PAD)
      y[:, -1] = vocabulary.numbers(some.following[row])[0]
    yield New(x, y, None, some.told.iloc[[row] * len(x)].reset_index(drop=True))
