"""Stack Overflow by user: predict the tags of a question from its words.

The logistic-regression task of Reddi et al. 2021 ("Adaptive federated optimization"; SO LR, scored
by recall at 5), on the users of `fl_research.datasets.stackoverflow`.
"""

from collections.abc import Mapping
import json

import numpy as np

from fl_research.datasets import files, stackoverflow, tff_bridge
from fl_research.datasets.federated_data import DatasetOptions, Examples, FederatedData, Problem

_TAGS_FILE = 'stackoverflow.tag_count.tar.bz2'
_TAGS_SHA256 = '6fe281cec490d9384a290d560072438e7e2b377bbb823876ce7bd6f82696772d'
_NUM_TAGS = 500
_MOST_TEST_EXAMPLES = 10_000


def load(options: DatasetOptions) -> FederatedData:
  """Loads the users: x float32 [10000] a bag of words, y float32 [500] of 0/1, the tags.

  x_w is how often word w of the vocabulary occurs in text and title, divided by the number of such
  words; words outside the vocabulary do not count. Tags are the 500 that most users use. Limits on
  examples are those of `stackoverflow.load`.

  Raises:
    UsageError: a file cannot be had or is damaged.
  """
  words, words_path = stackoverflow.load_words(options.data_dir)
  tags_path = files.fetch(
    options.data_dir,
    tff_bridge.FOLDER,
    _TAGS_FILE,
    tff_bridge.URL + _TAGS_FILE,
    _TAGS_SHA256,
  )
  counts = json.loads(stackoverflow.read_counts(tags_path, 'stackoverflow.tag_count'))
  tags = sorted(counts, key=counts.get, reverse=True)[:_NUM_TAGS]
  index_of_word = {word: index for index, word in enumerate(words)}
  index_of_tag = {tag: index for index, tag in enumerate(tags)}
  convert = lambda raw: questions(raw, index_of_word, index_of_tag)
  path, train, test = stackoverflow.open_users(options.data_dir, convert)
  return FederatedData(
    train,
    tff_bridge.central_test(test, _MOST_TEST_EXAMPLES, options.seed),
    Problem.MULTILABEL,
    len(tags),
    test,
    {item.name: files.sha256_of(item) for item in (path, words_path, tags_path)},
  )


def questions(
  raw: Mapping[str, np.ndarray],
  index_of_word: Mapping[str, int],
  index_of_tag: Mapping[str, int],
) -> Examples:
  """Posts (arrays of bytes: tokens, title, tags parted by |) as examples, as `load` says."""
  x = np.zeros((len(raw['tokens']), len(index_of_word)), np.float32)
  y = np.zeros((len(raw['tokens']), len(index_of_tag)), np.float32)
  for row, (text, title, tags) in enumerate(zip(raw['tokens'], raw['title'], raw['tags'])):
    words = [index_of_word.get(word) for word in (text + b' ' + title).decode().split()]
    known = [index for index in words if index is not None]
    np.add.at(x[row], known, 1 / max(len(known), 1))
    for tag in tags.decode().split('|'):
      if tag in index_of_tag:
        y[row, index_of_tag[tag]] = 1
  return {'x': x, 'y': y}
