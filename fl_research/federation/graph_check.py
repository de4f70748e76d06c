"""Which TensorFlow operations a program may have that a site is sent.

The list allows; what is not on it is refused. It has the operations that this project's methods,
aggregators, compressors and models use at the clients, and others of their kind: functions of
tensors, which read and write nothing else. So no file, no socket, no Python, no other program, no
variable or other resource, nothing printed; and no random numbers but those that are a function of
a seed that is given.

What it does not see: what a program computes (it may copy rows into an update: hence the limits on
what leaves, sums with others, and noise), how long it takes and how much memory. And `Assert` is
allowed, whose error holds tensors: what a failing program says must not leave the site.
"""

from collections.abc import Iterable, Iterator
import re
from typing import Any

from fl_research.federation.refusal import Refused

MOST_BYTES = 16_000_000
"""A larger library is not read; the largest of this project's has half a million bytes."""

_CONTROL = """
  Assert Case Const EnsureShape Identity IdentityN If NoOp PartitionedCall Placeholder
  PlaceholderWithDefault PreventGradient StatefulPartitionedCall StatelessCase StatelessIf
  StatelessWhile StopGradient While
"""
_SHAPES = """
  BatchToSpaceND BroadcastArgs BroadcastGradientArgs BroadcastTo Concat ConcatOffset ConcatV2
  DepthToSpace DynamicPartition DynamicStitch ExpandDims Fill Gather GatherNd GatherV2
  InvertPermutation LinSpace MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2
  MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3
  MirrorPad MirrorPadGrad OneHot OnesLike Pack Pad PadV2 ParallelDynamicStitch Range Rank Reshape
  Reverse ReverseSequence ReverseV2 Roll ScatterNd Shape ShapeN Size Slice SpaceToBatchND
  SpaceToDepth Split SplitV Squeeze StridedSlice StridedSliceGrad TensorScatterAdd
  TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate
  Tile Transpose Unpack Unique UniqueV2 UniqueWithCounts Where ZerosLike
"""
_NUMBERS = """
  Abs Acos Acosh Add AddN AddV2 Angle ApproximateEqual Asin Asinh Atan Atan2 Atanh Betainc Bitcast
  BitwiseAnd BitwiseOr BitwiseXor Cast Ceil ClipByValue Complex ComplexAbs Conj Cos Cosh Digamma
  Div DivNoNan Equal Erf Erfc Erfinv Exp Expm1 Floor FloorDiv FloorMod Greater GreaterEqual Igamma
  IgammaGradA Igammac Imag Inv InvGrad Invert IsFinite IsInf IsNan LeftShift Less LessEqual Lgamma
  Log Log1p LogicalAnd LogicalNot LogicalOr Maximum Minimum Mod Mul MulNoNan Ndtri Neg NextAfter
  NotEqual Polygamma PopulationCount Pow Real RealDiv Reciprocal ReciprocalGrad RightShift Rint
  Round Rsqrt RsqrtGrad Select SelectV2 Sigmoid SigmoidGrad Sign Sin Sinh Sqrt SqrtGrad Square
  SquaredDifference Sub Tan Tanh TanhGrad TruncateDiv TruncateMod Xdivy Xlog1py Xlogy Zeta
"""
_SUMS = """
  All Any ArgMax ArgMin Bincount Bucketize Cumprod Cumsum CumulativeLogsumexp DenseBincount
  EuclideanNorm HistogramFixedWidth InTopK InTopKV2 LowerBound Max Mean Min NthElement Prod
  SegmentMax SegmentMean SegmentMin SegmentProd SegmentSum Sum TopK TopKV2 UnsortedSegmentMax
  UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum UpperBound
"""
_LINEAR_ALGEBRA = """
  BatchMatMul BatchMatMulV2 BatchMatMulV3 Cholesky CholeskyGrad Cross Einsum FFT FFT2D FFT3D IFFT
  IFFT2D IFFT3D IRFFT IRFFT2D IRFFT3D L2Loss LogMatrixDeterminant MatMul MatrixDeterminant
  MatrixExponential MatrixInverse MatrixSolve MatrixSolveLs MatrixSquareRoot MatrixTriangularSolve
  Qr RFFT RFFT2D RFFT3D SelfAdjointEigV2 SparseSegmentMean SparseSegmentSqrtN SparseSegmentSum Svd
"""
_NETWORKS = """
  AvgPool AvgPool3D AvgPool3DGrad AvgPoolGrad BiasAdd BiasAddGrad BiasAddV1 Conv2D
  Conv2DBackpropFilter Conv2DBackpropInput Conv3D Conv3DBackpropFilterV2 Conv3DBackpropInputV2
  DepthwiseConv2dNative DepthwiseConv2dNativeBackpropFilter DepthwiseConv2dNativeBackpropInput
  Dilation2D Dilation2DBackpropFilter Dilation2DBackpropInput Elu EluGrad FusedBatchNorm
  FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3 FusedBatchNormV2 FusedBatchNormV3
  LRN LRNGrad LeakyRelu LeakyReluGrad LogSoftmax MaxPool MaxPool3D MaxPool3DGrad MaxPoolGrad
  MaxPoolGradGrad MaxPoolGradV2 MaxPoolGradWithArgmax MaxPoolV2 MaxPoolWithArgmax Relu Relu6
  Relu6Grad ReluGrad ResizeBicubic ResizeBicubicGrad ResizeBilinear ResizeBilinearGrad
  ResizeNearestNeighbor ResizeNearestNeighborGrad Selu SeluGrad Softmax
  SoftmaxCrossEntropyWithLogits Softplus SoftplusGrad Softsign SoftsignGrad
  SparseSoftmaxCrossEntropyWithLogits
"""
_RANDOM = """
  StatelessMultinomial StatelessParameterizedTruncatedNormal StatelessRandomBinomial
  StatelessRandomGammaV2 StatelessRandomGammaV3 StatelessRandomGetKeyCounter
  StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2
  StatelessRandomPoisson StatelessRandomUniform StatelessRandomUniformFullInt
  StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformIntV2
  StatelessRandomUniformV2 StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2
"""
_LISTS = """
  EmptyTensorList TensorListConcat TensorListConcatV2 TensorListElementShape TensorListFromTensor
  TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack
  TensorListReserve TensorListResize TensorListScatter TensorListScatterIntoExistingList
  TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack
"""

ALLOWED = frozenset(
  ' '.join(
    (_CONTROL, _SHAPES, _NUMBERS, _SUMS, _LINEAR_ALGEBRA, _NETWORKS, _RANDOM, _LISTS)
  ).split()
)
"""The operations that a program may have."""

# As TensorFlow names the functions that it traces: no operation has such a name.
_FUNCTION_NAME = re.compile(r'(__|[a-z])\S*')
_LOCAL_DEVICE = re.compile(
  r'(/job:localhost)?(/replica:0)?(/task:0)?(/device:(CPU|GPU):(\d+|\*))?', re.IGNORECASE
)


def not_allowed(operations: Iterable[str]) -> list[str]:
  """Those of the operations that are not on the list, sorted."""
  return sorted(set(operations) - ALLOWED)


def check(library: bytes) -> tuple[str, ...]:
  """Checks a program.

  Args:
    library: a serialised `FunctionDefLibrary`, such as `flat_function.Exported.library`.

  Returns:
    The names of the operations in it, sorted.

  Raises:
    Refused: it is too large, no library, has an operation that is not allowed, names a function
      that it does not have, calls one in a circle, holds a resource, or wants another machine.
  """
  if len(library) > MOST_BYTES:
    raise Refused(f'the graph has {len(library)} bytes; accepted are {MOST_BYTES}')
  parsed = _parse(library)
  names = [function.signature.name for function in parsed.function]
  if not names:
    raise Refused('the graph has no function')
  for name in names:
    if not _FUNCTION_NAME.fullmatch(name) or names.count(name) > 1:
      raise Refused(f'the graph has a function called {name!r}, or two')
  if parsed.gradient or parsed.registered_gradients:
    raise Refused('the graph brings gradients of its own')
  _check_no_circle(calls(parsed))
  nodes = (node.op for function in parsed.function for node in function.node_def)
  return tuple(sorted(set(nodes) - set(names)))


def calls(library: Any) -> dict[str, set[str]]:
  """The functions that each function of a `FunctionDefLibrary` calls, by name.

  Raises:
    Refused: one has something that is not allowed.
  """
  names = {function.signature.name for function in library.function}
  return {f.signature.name: _check_function(f, names) for f in library.function}


def _parse(library: bytes) -> Any:
  from tensorflow.core.framework import function_pb2

  try:
    return function_pb2.FunctionDefLibrary.FromString(library)
  except Exception as error:  # protobuf's own, which differs by its implementation
    raise Refused('the graph is no library of functions') from error


def _check_function(function: Any, names: set[str]) -> set[str]:
  """Checks a function; gives the names of those that it calls."""
  called: set[str] = set()
  own = function.signature.name
  for argument in (*function.signature.input_arg, *function.signature.output_arg):
    _check_type(argument.type, own)
  values = [*function.attr.values()]
  values += [
    value for attributes in function.arg_attr.values() for value in attributes.attr.values()
  ]
  for node in function.node_def:
    if node.op in names:
      called.add(node.op)
    elif node.op not in ALLOWED:
      raise Refused(f'the operation {node.op} is not allowed (node {node.name} of {own})')
    if not _LOCAL_DEVICE.fullmatch(node.device):
      raise Refused(f'{node.name} of {own} is to run on {node.device}; accepted is this machine')
    values += node.attr.values()
  for value in values:
    called |= _check_attribute(value, own)
  missing = sorted(called - names)
  if missing:
    raise Refused(f'{own} calls {missing[0]}, which the graph does not have')
  return called


def _check_attribute(value: Any, own: str) -> set[str]:
  """Checks an attribute of a node; gives the names of the functions in it."""
  called = set()
  for function in _functions(value):
    called.add(function.name)
    for nested in function.attr.values():
      called |= _check_attribute(nested, own)
  for kind in (value.type, value.tensor.dtype, *value.list.type):
    _check_type(kind, own)
  for tensor in value.list.tensor:
    _check_type(tensor.dtype, own)
  return called


def _functions(value: Any) -> Iterator[Any]:
  if value.HasField('func'):
    yield value.func
  yield from value.list.func


def _check_type(kind: int, own: str) -> None:
  from tensorflow.core.framework import types_pb2

  if kind in (types_pb2.DT_RESOURCE, types_pb2.DT_RESOURCE_REF):
    raise Refused(f'{own} holds a resource, such as a variable or a file')


def _check_no_circle(called: dict[str, set[str]]) -> None:
  """Raises `Refused` when a function calls itself, directly or through others."""
  left = dict(called)
  while left:
    done = [name for name, callees in left.items() if not callees & left.keys()]
    if not done:
      raise Refused(f'{min(left)} calls itself, directly or through others')
    for name in done:
      del left[name]
