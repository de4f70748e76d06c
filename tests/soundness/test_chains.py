"""Which chains are accepted, and the one line that refuses the others, without TensorFlow."""

import subprocess
import sys

import pytest

from fl_research import settings as settings_lib
from fl_research.aggregation import compression
from fl_research.aggregation.compression import chain
from fl_research.registry import UsageError
from fl_research.soundness import chains, validation


def settings(compressor, **given):
  method = {k: v for k, v in given.items() if k in settings_lib.registry_flags()}
  rest = {k: v for k, v in given.items() if k not in method}
  return settings_lib.Settings(
    experiment_name='wire', task='digits', compressor=compressor, hyperparameters=method, **rest
  )


def test_stages_in_order_with_defaults():
  assert chain.parse('subsample:0.2, rotation,quantize', {}) == {
    'subsample': {'fraction': 0.2},
    'rotation': {},
    'quantize': {'bits': 8},
  }
  assert list(chain.parse('rotation,subsample,qsgd:4', {})) == ['rotation', 'subsample', 'qsgd']
  assert chain.parse('', {}) == {}
  assert compression.build({}) is None


def test_hyperparameters_from_flags():
  checked = settings('rotation,quantize', quantize_bits=3)
  validation.validate(checked)
  assert checked.compressor_stages() == {'rotation': {}, 'quantize': {'bits': 3}}


@pytest.mark.parametrize('name', compression.COMPRESSORS)
def test_each_stage_alone_is_accepted(name):
  validation.validate(settings(name))


@pytest.mark.parametrize(
  'text, reason',
  [
    ('quantise:2', 'did you mean quantize?'),
    ('quantize:0', 'an integer in [1, 16]'),
    ('quantize:17', 'an integer in [1, 16]'),
    ('quantize:2.5', 'bits of quantize is an integer in [1, 16], not 2.5'),
    ('quantize:', 'not nothing'),
    ('quantize,', '--compressor=: unknown'),
    ('rotation:3', 'rotation has no hyperparameter'),
    ('subsample:0', 'a share in (0, 1]'),
    ('subsample:nan', 'a share in (0, 1]'),
    ('random_mask:1.01', 'a share in (0, 1]'),
    ('top_k:-0.1', 'a share in (0, 1]'),
    ('low_rank:0', 'a share in (0, 1), or an integer'),
    ('low_rank:2.5', 'a share in (0, 1), or an integer'),
    ('low_rank:inf', 'a share in (0, 1), or an integer'),
    ('qsgd:0', 'an integer in [1, 2^15]'),
    ('quantize:2,rotation', 'rotation cannot follow it'),
    ('drive,quantize:2', 'quantize cannot follow it'),
    ('rotation,drive', 'drive rotates by itself'),
    ('rotation,low_rank', 'low_rank says what is trained'),
    ('low_rank,random_mask', 'random_mask says what is trained'),
    ('quantize:2,quantize:2', 'stands in it twice'),
    ('top_k,quantize:2', 'quantize would make grow'),
    ('subsample,top_k', 'subsample would make grow'),
  ],
)
def test_refused(text, reason):
  with pytest.raises(UsageError) as refusal:
    validation.validate(settings(text))
  line = str(refusal.value)
  assert reason in line
  assert line.startswith('--') and '\n' not in line


@pytest.mark.parametrize(
  'given, reason',
  [
    ({'compressor': 'low_rank', 'client_optimizer': 'adam'}, '--client_optimizer=adam: not with'),
    ({'compressor': 'rotation,qsgd:4', 'jit': 'on'}, '--jit=on: not with --compressor=qsgd'),
    ({'compressor': 'quantize:2', 'quantize_bits': 3}, 'also set by --quantize_bits'),
    ({'compressor': '', 'quantize_bits': 3}, 'not read by this run'),
    ({'compressor': 'low_rank', 'algorithm': 'ifca'}, 'low_rank restricts .*ifca, which sends'),
    ({'compressor': 'drive', 'local_only': True}, 'not with --local_only'),
    ({'compressor': 'drive', 'centralized': True}, 'not with --centralized'),
  ],
)
def test_refused_together(given, reason):
  with pytest.raises(UsageError, match=reason):
    validation.validate(settings(**given))


@pytest.mark.parametrize('optimizer', ['sgd', 'momentum'])
def test_structured_updates_with_linear_optimisers(optimizer):
  validation.validate(settings('random_mask:0.1,rotation,quantize:2', client_optimizer=optimizer))


def test_error_feedback_needs_clients_that_come_back():
  stages = chain.parse('top_k', {})
  with pytest.raises(UsageError, match='4 rounds of 5 out of 20 clients may all be fresh'):
    chains.check_returning(stages, 4, 5, 20)
  chains.check_returning(stages, 5, 5, 20)
  chains.check_returning(chain.parse('drive', {}), 1, 1, 1000)


def test_reading_flags_does_not_import_tensorflow():
  code = (
    'import sys; from fl_research.aggregation.compression import chain; '
    "chain.parse('rotation,quantize:2', {}); sys.exit('tensorflow' in sys.modules)"
  )
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
