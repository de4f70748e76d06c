"""Exported models answer as ours do, without our package."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.special
import tensorflow as tf

from fl_research import models
from fl_research.datasets.federated_data import Problem
from fl_research.importing.preprocessing import Preprocessing
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError
from fl_research.training import answers, saved_model, stored_data

_TABLE = pd.DataFrame(
  {
    'dose': [1.5, np.nan, -3.0, 2.25],
    'written': ['2', '', '7.5', '1e2'],
    'cost': [1234.5, np.nan, -2.0, 0.0],
    'ward': ['east', ' far   west ', '', 'elsewhere'],
    'bed': [1.0, 7.0, np.nan, 12.0],
    'signs': ['fever| cough', '', 'cough', 'rash|fever'],
    'drug': ['a7', 'zz', '', ' b1'],
    'room': [3.0, 1.5, np.nan, 12.0],
    'visit': ['2026-03-01', '1999-12-31 18:30:15', '', '2024-02-29T06:00'],
    'born': ['31.12.1999', '1.3.2000', '', '05.07.1961'],
    'seen': ['01-Jan-1970', '29-Feb-2024', '', '15-Nov-2025'],
    'typed': ['01/31/2020 12:05 AM', '12/01/1999 12:30 PM', '', '07/04/2021 03:15 pm'],
    'short': ['31.12.99', '01.03.00', '', '05.07.61'],
    'long': ['January 31, 2020', 'May 1, 1999', '', 'September 30, 2021'],
    'stamp': [1.7e9, 0.0, np.nan, -86_400.0],
    'left': [20240229.0, 19991231.0, np.nan, 20260301.0],
  }
)


def _category(name, kind, **fitted):
  return {'name': name, 'role': 'category', 'kind': kind, **fitted}


_COLUMNS = [
  {'name': 'dose', 'role': 'number', 'kind': 'number', 'mean': 0.5, 'deviation': 2.0},
  {'name': 'written', 'role': 'number', 'kind': 'text', 'mean': 3.0, 'deviation': 5.0},
  {
    'name': 'cost',
    'role': 'number',
    'kind': 'text',
    'form': '$#,###.#',
    'mean': 3.0,
    'deviation': 5.0,
  },
  {
    'name': 'ward',
    'role': 'category',
    'kind': 'text',
    'categories': ['east', 'far west'],
    'usual': 'west',
  },
  {'name': 'bed', 'role': 'category', 'kind': 'number', 'categories': ['1', '7'], 'usual': '7'},
  {
    'name': 'signs',
    'role': 'category',
    'kind': 'text',
    'separator': '|',
    'categories': ['cough', 'fever'],
  },
  {'name': 'drug', 'role': 'identifier', 'kind': 'text', 'ids': ['a7', 'b1']},
  {'name': 'room', 'role': 'identifier', 'kind': 'number', 'ids': ['1', '3', '12']},
  *(
    {'name': name, 'role': 'date', 'kind': kind, 'form': form, 'mean': 9000.0, 'deviation': 800.0}
    for name, kind, form in (
      ('visit', 'text', 'ISO8601'),
      ('born', 'text', '%d.%m.%Y'),
      ('seen', 'text', '%d-%b-%Y'),
      ('typed', 'text', '%m/%d/%Y %I:%M %p'),
      ('short', 'text', '%d.%m.%y'),
      ('long', 'text', '%B %d, %Y'),
      ('stamp', 'number', 'epoch seconds'),
      ('left', 'number', 'YYYYMMDD'),
    )
  ),
]
_CLASSES = {'form': 'classes', 'column': 'sick', 'kind': 'text', 'names': ['no', 'perhaps', 'yes']}
_ALONE = """
import json, sys
import numpy as np, tensorflow as tf
folder, cells = sys.argv[1], json.loads(sys.argv[2])
answer = tf.saved_model.load(folder).signatures['serving_default']
specs = answer.structured_input_signature[1]
found = answer(**{name: tf.constant(cells[name], spec.dtype) for name, spec in specs.items()})
print(json.dumps({name: np.asarray(value).astype(str).tolist() for name, value in found.items()}))
assert 'fl_research' not in sys.modules
"""


def _stored(columns):
  how = Preprocessing.from_data({'form': 'table', 'columns': columns, 'label': _CLASSES})
  spec = ModelSpec(
    input_shape=(how.width,),
    x_dtype=np.dtype(np.float32),
    label_shape=(),
    label_dtype=np.dtype(np.int32),
    problem=Problem.CLASSIFICATION,
    num_classes=3,
    inputs=how.inputs,
  )
  return how, stored_data.StoredData(spec, ('no', 'perhaps', 'yes'), how.to_data())


def test_raw_columns_give_what_the_preprocessing_and_the_model_give(tmp_path):
  how, stored = _stored(_COLUMNS)
  model = models.build('mlp', stored.spec, seed=3)
  weights = tuple(model.initial_weights[0])
  taken = saved_model.save(tmp_path / 'model', model, weights, stored)
  assert list(taken) == list(_TABLE)
  missing = _TABLE.mask(_TABLE == '')
  outputs = model.predict_on_batch((weights, ()), how.transform(missing), False).numpy()
  expected = answers.to_table(stored.spec, stored.class_names, outputs)
  cells = json.dumps({name: _TABLE[name].tolist() for name in _TABLE})
  alone = [sys.executable, '-I', '-c', _ALONE, tmp_path / 'model', cells]
  shown = subprocess.run(alone, capture_output=True, text=True, check=True)
  found = json.loads(shown.stdout)
  assert found['predicted'] == expected['predicted'].tolist()
  shares = np.array(found['probabilities'], float)
  np.testing.assert_allclose(shares, expected.drop(columns='predicted'), atol=1e-6)


def test_lists_without_a_separator_are_refused(tmp_path):
  column = {
    'name': 'signs',
    'role': 'category',
    'kind': 'list',
    'separator': '',
    'categories': ['a'],
  }
  _, stored = _stored([column])
  model = models.build('softmax', stored.spec, seed=3)
  with pytest.raises(UsageError, match='column signs: holds lists that no separator divides'):
    saved_model.save(tmp_path / 'model', model, model.initial_weights[0], stored)


def test_text_takes_tokens_and_gives_the_next_at_each_place(tmp_path):
  whole = np.dtype(np.int32)
  spec = ModelSpec((4,), whole, (4,), whole, Problem.NEXT_TOKEN, 7)
  stored = stored_data.StoredData(spec, (), {'kind': 'text', 'tokens': 'characters'})
  model = models.build(
    'char_lstm',
    dataclasses.replace(spec, hyperparameters={'units': 3, 'layers': 1, 'embedding': 2}),
    seed=3,
  )
  weights = tuple(model.initial_weights[0])
  assert saved_model.save(tmp_path / 'model', model, weights, stored) == {'x': 'int32'}
  answer = tf.saved_model.load(str(tmp_path / 'model')).signatures['serving_default']
  x = np.array([[5, 1, 2, 0], [5, 3, 3, 1], [1, 2, 3, 4]], np.int32)
  found = answer(x=tf.constant(x))
  outputs = model.predict_on_batch((weights, ()), x, False).numpy().reshape(3, 4, 7)
  expected = scipy.special.softmax(outputs, axis=2)
  np.testing.assert_allclose(found['probabilities'], expected, atol=1e-6)
  np.testing.assert_array_equal(found['predicted'], outputs.argmax(axis=2))
