"""Tests of CelebA on a small database in TFF's format, through TFF's own loader."""

import numpy as np
import tensorflow_federated as tff

from fl_research import tasks
from fl_research.datasets.federated_data import DatasetOptions, Problem
from tests.datasets import tff_database


def _example(level: int, smiling: bool) -> dict:
  attributes = dict.fromkeys(tff.simulation.datasets.celeba.ATTRIBUTE_NAMES, 0)
  attributes['smiling'] = int(smiling)
  return {'image': [level] * (84 * 84 * 3), **attributes}


def test_reads_celebrities(tmp_path):
  tff_database.write(
    tmp_path / 'tff' / 'celeba.sqlite',
    {
      'split_by_examples_train': {'7': [_example(255, True), _example(51, False)]},
      'split_by_examples_test': {'7': [_example(0, True)]},
    },
  )
  data = tasks.load('celeba', DatasetOptions(str(tmp_path)))
  own = data.train.examples(0)
  assert data.problem is Problem.BINARY
  assert own['x'].shape == (2, 84, 84, 3)
  assert own['x'].dtype == np.float32
  np.testing.assert_allclose(own['x'].mean(axis=(1, 2, 3)), [1, 0.2], rtol=1e-5)
  assert own['y'].tolist() == [1, 0]
  assert own['y'].dtype == np.int32
  assert data.test['y'].tolist() == [1]
