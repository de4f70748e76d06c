"""Tests of TFF's Shakespeare on a small database in its format, through TFF's own loader."""

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research import tasks
from fl_research.datasets.federated_data import DatasetOptions, Problem
from fl_research.registry import UsageError
from tests.datasets import tff_database

_SNIPPETS = [b'Hark!', b"My name's Macbeth. \xc3\xa9", b'']


@pytest.fixture
def folder(tmp_path) -> str:
  examples = [{'snippets': snippet} for snippet in _SNIPPETS]
  tff_database.write(
    tmp_path / 'tff' / 'shakespeare.sqlite',
    {'train': {'B': examples, 'A': examples[:1]}, 'test': {'A': examples[2:]}},
  )
  return str(tmp_path)


def test_tokens_of_a_snippet(folder):
  data = tasks.load('tff_shakespeare', DatasetOptions(folder, sequence_length=10))
  assert data.problem is Problem.NEXT_TOKEN
  assert data.num_classes == 90
  own = data.train.examples(0)
  # begin H a r k ! end padding: tokens are places in TFF's list of characters, from 1.
  framed = [88, 9, 64, 46, 23, 79, 89, 0, 0, 0, 0]
  assert own['x'].tolist() == [framed[:-1]]
  assert own['y'].tolist() == [framed[1:]]
  assert own['x'].dtype == np.int32
  # 21 bytes, begin and end make 23 tokens: three pieces of 11.
  assert data.train.sizes.tolist() == [1, 1 + 3 + 1]
  assert data.test['x'].tolist() == [[88, 89] + [0] * 8]


def test_equals_tffs_own_preprocessing(folder):
  own = tasks.load('tff_shakespeare', DatasetOptions(folder, sequence_length=10)).train
  raw, _ = tff.simulation.datasets.shakespeare.load_data(cache_dir=f'{folder}/tff')
  preprocess = tff.simulation.baselines.shakespeare.create_character_prediction_task(
    tff.simulation.baselines.ClientSpec(num_epochs=1, batch_size=100, shuffle_buffer_size=1),
    sequence_length=10,
    use_synthetic_data=True,
  ).datasets.train_preprocess_fn
  for position, client_id in enumerate(raw.client_ids):
    [(x, y)] = preprocess(raw.create_tf_dataset_for_client(client_id))
    np.testing.assert_array_equal(own.examples(position)['x'], x)
    np.testing.assert_array_equal(own.examples(position)['y'], y)


def test_bad_sequence_length(folder):
  with pytest.raises(UsageError, match='--sequence_length=0'):
    tasks.load('tff_shakespeare', DatasetOptions(folder, sequence_length=0))
