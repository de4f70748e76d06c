"""The list of operations that a site lets run, and programs that try something else.

What this project's own methods send is checked where they are traced: `tests/algorithms`,
`tests/aggregation`.
"""

import pytest
import tensorflow as tf
from tensorflow.core.framework import function_pb2, types_pb2
from tensorflow.python.framework import op_def_registry

from fl_research.federation import graph_check
from fl_research.federation.refusal import Refused
from fl_research.runtime import flat_function

FORBIDDEN = (
  'AnonymousIterator',
  'Assign',
  'AssignVariableOp',
  'AudioSummary',
  'Barrier',
  'CollectiveReduce',
  'ConfigureDistributedTPU',
  'Copy',
  'CSVDatasetV2',
  'DebugIdentityV2',
  'DecodeProtoV2',
  'EagerPyFunc',
  'EncodeProto',
  'FileSystemSetConfiguration',
  'FixedLengthRecordDatasetV2',
  'GetSessionHandle',
  'HashTableV2',
  'IteratorGetNext',
  'LoadLibrary',
  'LookupTableImportV2',
  'MapDataset',
  'MatchingFiles',
  'MergeV2Checkpoints',
  'Multinomial',
  'MutableHashTableV2',
  'Print',
  'PrintV2',
  'PyFunc',
  'PyFuncStateless',
  'QueueDequeueV2',
  'RandomStandardNormal',
  'RandomUniform',
  'ReadFile',
  'ReadVariableOp',
  'ReaderReadV2',
  'RemoteCall',
  'Restore',
  'RestoreV2',
  'RpcCall',
  'RpcClient',
  'Save',
  'SaveV2',
  'SendTPUEmbeddingGradients',
  'ShardedFilename',
  'Stage',
  'Substr',
  'SymbolicGradient',
  'TFRecordDataset',
  'TPUExecute',
  'TextLineDataset',
  'Timestamp',
  'VarHandleOp',
  'VariableV2',
  'WholeFileReaderV2',
  'WriteFile',
  'WriteSummary',
  'XlaLaunch',
  '_Recv',
  '_Send',
)


def _library(function, *shapes):
  specs = [tf.TensorSpec(shape) for shape in shapes]
  exported = flat_function.FlatFunction(function, specs).exported()
  return function_pb2.FunctionDefLibrary.FromString(exported.library)


@pytest.fixture(scope='module')
def nested():
  """A loop with a condition, and the gradient of both."""

  def step(x):
    return tf.cond(tf.reduce_sum(x) > 0.0, lambda: tf.sin(x), lambda: x * 2.0)

  def loop(x):
    with tf.GradientTape() as tape:
      tape.watch(x)
      last = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, step(y)), (0, x))[1]
    return [tape.gradient(last, x)]

  return _library(loop, [None])


def _checked(library):
  return graph_check.check(library.SerializeToString())


def _copy(library):
  made = function_pb2.FunctionDefLibrary()
  made.CopyFrom(library)
  return made


def _last(library):
  """The last function, of which others are parts."""
  return library.function[-1]


def test_loops_conditions_and_gradients_are_allowed(nested):
  found = _checked(nested)
  assert len(nested.function) > 4
  assert {'StatelessWhile', 'StatelessIf', 'Cos', 'Mul'} <= set(found)
  assert list(found) == sorted(set(found))


@pytest.mark.parametrize('operation', FORBIDDEN)
def test_an_operation_that_does_more_than_compute_is_refused_by_name(nested, operation):
  library = _copy(nested)
  node = library.function[0].node_def.add()
  node.name, node.op = 'hidden', operation
  message = rf'the operation {operation} is not allowed \(node hidden of'
  with pytest.raises(Refused, match=message) as raised:
    _checked(library)
  assert '\n' not in str(raised.value)


def test_real_programs_that_try_are_refused():
  def reads(x):
    return [x + tf.strings.to_number(tf.io.read_file('/etc/passwd'))]

  def prints(x):
    tf.print(x)
    return [x]

  def runs_python(x):
    return [tf.py_function(lambda y: y, [x], tf.float32)]

  def draws(x):
    return [x + tf.random.normal([])]

  for function, name in (
    (reads, 'ReadFile'),
    (prints, 'PrintV2|StringFormat'),
    (runs_python, 'EagerPyFunc'),
    (draws, 'RandomStandardNormal'),
  ):
    with pytest.raises(Refused, match=rf'the operation ({name}) is not allowed'):
      _checked(_library(function, []))


def test_the_list_names_operations_of_tensorflow_that_keep_nothing():
  """Those that count as stateful call functions, which are checked, or fail (`Assert`)."""
  known = {name: op_def_registry.get(name) for name in graph_check.ALLOWED}
  assert [name for name, definition in known.items() if definition is None] == []
  stateful = {name for name, definition in known.items() if definition.is_stateful}
  assert stateful == {'Assert', 'Case', 'If', 'StatefulPartitionedCall', 'While'}
  of_resources = [
    name
    for name, definition in known.items()
    if any(a.type == types_pb2.DT_RESOURCE for a in (*definition.input_arg, *definition.output_arg))
  ]
  assert of_resources == []


def test_a_function_that_is_missing_is_named(nested):
  library = _copy(nested)
  # Which of them others call differs from one tracing to the next.
  called = set().union(*graph_check.calls(library).values())
  removed = min(called)
  [place] = [k for k, each in enumerate(library.function) if each.signature.name == removed]
  del library.function[place]
  with pytest.raises(Refused, match=f'calls {removed}, which the graph does not have'):
    _checked(library)


def test_functions_in_lists_and_nested_attributes_are_followed(nested):
  library = _copy(nested)
  node = _last(library).node_def.add()
  node.name, node.op = 'call', 'Case'
  node.attr['branches'].list.func.add().name = 'elsewhere'
  with pytest.raises(Refused, match='calls elsewhere, which the graph does not have'):
    _checked(library)
  del node.attr['branches']
  node.attr['f'].func.name = library.function[0].signature.name
  node.attr['f'].func.attr['g'].func.name = 'deeper'
  with pytest.raises(Refused, match='calls deeper'):
    _checked(library)


def test_a_function_that_calls_itself_is_refused(nested):
  library = _copy(nested)
  own = _last(library)
  node = own.node_def.add()
  node.name, node.op = 'again', own.signature.name
  with pytest.raises(Refused, match='calls itself'):
    _checked(library)


@pytest.mark.parametrize('name', ['ReadFile', '_Send', 'a b', ''])
def test_a_function_is_not_called_like_an_operation(nested, name):
  library = _copy(nested)
  library.function.add().signature.name = name
  with pytest.raises(Refused, match='the graph has a function called'):
    _checked(library)


def test_two_functions_of_one_name_are_refused(nested):
  library = _copy(nested)
  library.function.add().CopyFrom(library.function[0])
  with pytest.raises(Refused, match='or two'):
    _checked(library)


def test_resources_are_refused_wherever_they_stand(nested):
  library = _copy(nested)
  _last(library).signature.input_arg.add().type = types_pb2.DT_RESOURCE
  with pytest.raises(Refused, match='holds a resource'):
    _checked(library)
  library = _copy(nested)
  _last(library).node_def[0].attr['T'].type = types_pb2.DT_RESOURCE
  with pytest.raises(Refused, match='holds a resource'):
    _checked(library)


@pytest.mark.parametrize(
  'device, message',
  [
    ('/job:worker/task:1', 'accepted is this machine'),
    ('/job:localhost/replica:0/task:7', 'accepted is this machine'),
    ('/job:localhost/replica:0/task:0/device:CPU:0', ''),
    ('/device:GPU:*', ''),
  ],
)
def test_another_machine_is_refused(nested, device, message):
  library = _copy(nested)
  _last(library).node_def[0].device = device
  if not message:
    _checked(library)
    return
  with pytest.raises(Refused, match=message):
    _checked(library)


def test_gradients_of_its_own_are_refused(nested):
  library = _copy(nested)
  library.gradient.add().function_name = library.function[0].signature.name
  with pytest.raises(Refused, match='gradients of its own'):
    _checked(library)


@pytest.mark.parametrize(
  'content, message', [(b'', 'has no function'), (b'no library', 'is no library')]
)
def test_what_is_no_library_is_refused(content, message):
  with pytest.raises(Refused, match=message):
    graph_check.check(content)


def test_what_is_too_large_is_not_read(monkeypatch):
  monkeypatch.setattr(graph_check, 'MOST_BYTES', 10)
  with pytest.raises(Refused, match='the graph has 11 bytes; accepted are 10'):
    graph_check.check(b'no library!')


def test_what_is_not_allowed_is_listed():
  assert graph_check.not_allowed(['Add', 'WriteFile', 'ReadFile']) == ['ReadFile', 'WriteFile']


@pytest.mark.parametrize('place', ['tensor', 'list'])
def test_a_resource_in_an_attribute_is_refused(place):
  library = function_pb2.FunctionDefLibrary()
  node = library.function.add(signature={'name': 'work'}).node_def.add(name='n', op='Const')
  tensors = node.attr['value'].list.tensor
  tensor = tensors.add() if place == 'list' else node.attr['value'].tensor
  tensor.dtype = types_pb2.DT_FLOAT
  graph_check.check(library.SerializeToString())
  tensor.dtype = types_pb2.DT_RESOURCE
  with pytest.raises(Refused, match='holds a resource'):
    graph_check.check(library.SerializeToString())
