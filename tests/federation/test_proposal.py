"""Requests on their way through JSON."""

import json

import pytest

from fl_research.federation import proposal as proposals
from fl_research.registry import UsageError
from tests.federation.requested import asked


def _table(**changes):
  return {**json.loads(asked().to_json()), **changes}


def test_json_gives_back_the_same_request_with_the_same_run_id():
  made = asked(flags={'a': 1, 'b': 0.1, 'c': True, 'd': 'ä', 'e': None})
  read = proposals.from_json(made.to_json())
  assert read == made
  assert read.run_id == made.run_id


def test_the_run_id_does_not_depend_on_the_order_or_on_how_a_number_is_written():
  table = _table()
  table.pop('run_id')
  table['privacy']['noise_multiplier'] = 0
  turned = dict(reversed(table.items()))
  assert proposals.from_json(json.dumps(turned)).run_id == asked().run_id


@pytest.mark.parametrize(
  'changes',
  [{'total_rounds': 11}, {'model': '2nn'}, {'flags': {}}, {'columns': ()}, {'graphs': ()}],
)
def test_the_run_id_is_of_everything(changes):
  assert asked(**changes).run_id != asked().run_id


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'total_rounds': 11}, 'its run id is not the hash of its content'),
    ({'total_round': 11}, r'total_round is not known \(did you mean total_rounds\?\)'),
    ({'total_rounds': True}, 'total_rounds is True; accepted is an integer'),
    ({'total_rounds': 0}, 'total_rounds is 0; accepted is an integer of at least 1'),
    ({'model': 'a\nb'}, 'model is .*; accepted is a line'),
    ({'model': '\ud800'}, 'model is no text of Unicode'),
    ({'columns': [{'name': 'age'}]}, r'columns\[0\].role is missing'),
    ({'columns': {}}, 'columns is {}; accepted is a list'),
    ({'flags': {'a': [1]}}, r'flags.a is \[1\]; accepted is a text, a number'),
    ({'flags': {'a': float('nan')}}, 'flags.a is nan; accepted is a finite number'),
    ({'privacy': {'kind': 'central'}}, 'privacy: epsilon and delta are missing'),
    ({'privacy': {'kind': 'much'}}, 'privacy.kind is .much.; accepted is none or central or local'),
    ({'privacy': {'noise_multiplier': 10**400}}, 'privacy.noise_multiplier is 1000'),
    ({'releases': [{'kind': 'rows', 'bytes_per_round': 1}]}, r'releases\[0\].kind is .rows.'),
    ({'releases': [{'kind': 'updates', 'bytes_per_round': 1}]}, 'kind is protocol'),
    ({'releases': [{'kind': 'counts', 'bytes_per_round': 1}] * 2}, 'names a kind twice'),
    ({'secure_aggregation': {}}, 'kind is not protocol'),
    ({'graphs': [{'sha256': 'AB', 'purpose': 'x', 'operations': []}]}, 'hexadecimal'),
  ],
)
def test_what_is_not_as_agreed_is_refused_in_a_line_that_names_it(changes, message):
  with pytest.raises(UsageError, match=message) as raised:
    proposals.from_json(json.dumps(_table(**changes)), 'request.json')
  assert str(raised.value).startswith('request.json: ')
  assert '\n' not in str(raised.value)


@pytest.mark.parametrize('text', ['', '[1]', '{"a": 1, "a": 2}', '[' * 100_000, b'\xff'])
def test_what_is_no_table_is_refused(text):
  with pytest.raises(UsageError, match=r'^request: is not'):
    proposals.from_json(text, 'request')


def test_a_missing_field_is_named():
  table = _table()
  del table['model'], table['run_id']
  with pytest.raises(UsageError, match='proposal: model is missing'):
    proposals.from_json(json.dumps(table))
