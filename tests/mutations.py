"""Small mistakes that one may make in a Python file, for `tests.mutants`."""

import ast
from collections.abc import Callable, Iterator
import copy
from typing import Any, NamedTuple

_COMPARISONS: dict[type, tuple[type, ...]] = {
  ast.Lt: (ast.LtE, ast.Gt),
  ast.LtE: (ast.Lt, ast.Gt),
  ast.Gt: (ast.GtE, ast.Lt),
  ast.GtE: (ast.Gt, ast.Lt),
  ast.Eq: (ast.NotEq,),
  ast.NotEq: (ast.Eq,),
  ast.Is: (ast.IsNot,),
  ast.IsNot: (ast.Is,),
  ast.In: (ast.NotIn,),
  ast.NotIn: (ast.In,),
}

_OPERATORS: dict[type, type] = {
  ast.Add: ast.Sub,
  ast.Sub: ast.Add,
  ast.Mult: ast.Div,
  ast.Div: ast.Mult,
  ast.FloorDiv: ast.Mult,
  ast.Mod: ast.FloorDiv,
  ast.Pow: ast.Mult,
  ast.BitAnd: ast.BitOr,
  ast.BitOr: ast.BitAnd,
}

_PAIRS = (
  ('min', 'max'),
  ('minimum', 'maximum'),
  ('reduce_min', 'reduce_max'),
  ('reduce_sum', 'reduce_mean'),
  ('sum', 'mean'),
  ('any', 'all'),
  ('reduce_any', 'reduce_all'),
  ('floor', 'ceil'),
  ('zeros', 'ones'),
  ('zeros_like', 'ones_like'),
  ('sqrt', 'square'),
  ('divide_no_nan', 'multiply'),
)
_NAMES = {**dict(_PAIRS), **{other: one for one, other in _PAIRS}}

_UNSEEN = ('returns', 'annotation', 'decorator_list')
"""Parts of a function that say nothing of what it does."""


class Mutation(NamedTuple):
  """One mistake.

  Attributes:
    line, column: where it is, in the file as it stands.
    before: the expression or statement.
    after: what it becomes.
    source: the whole file with it.
  """

  line: int
  column: int
  before: str
  after: str
  source: str


def of(source: str) -> Iterator[Mutation]:
  """All mutations of a file; annotations, docstrings, imports and errors are left out."""
  tree = ast.parse(source)
  for node, put in _places(tree):
    for mutant in _variants(node):
      put(mutant)
      text = ast.unparse(ast.fix_missing_locations(tree))
      put(node)
      yield Mutation(node.lineno, node.col_offset, _text(node), _text(mutant), text)


def _text(node: ast.AST) -> str:
  return ' '.join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())


def _places(node: ast.AST) -> Iterator[tuple[Any, Callable[[ast.AST], None]]]:
  """Every node that can be changed, and what puts another in its place."""
  for field, value in ast.iter_fields(node):
    if field in _UNSEEN:
      continue
    if isinstance(value, list):
      for position, child in enumerate(value):
        if isinstance(child, ast.AST) and _is_seen(child):
          yield child, lambda new, at=position, all=value: all.__setitem__(at, new)
          yield from _places(child)
    elif isinstance(value, ast.AST) and _is_seen(value):
      yield value, lambda new, field=field: setattr(node, field, new)
      yield from _places(value)


def _is_seen(node: ast.AST) -> bool:
  is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
  return not (is_text or isinstance(node, (ast.Import, ast.ImportFrom, ast.Raise, ast.JoinedStr)))


def _variants(node: ast.AST) -> Iterator[ast.AST]:
  kind = _KINDS.get(type(node))
  yield from kind(node) if kind else ()


def _but(node: Any, **changes: Any) -> Any:
  new = copy.deepcopy(node)
  for field, value in changes.items():
    setattr(new, field, value)
  return new


def _compare(node: ast.Compare) -> Iterator[ast.AST]:
  for operator in _COMPARISONS[type(node.ops[0])]:
    yield _but(node, ops=[operator(), *node.ops[1:]])


def _binary(node: Any) -> Iterator[ast.AST]:
  if type(node.op) in _OPERATORS:
    yield _but(node, op=_OPERATORS[type(node.op)]())
  if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div)):
    yield ast.BinOp(node, ast.Div(), ast.Constant(2))  # Halved.


def _boolean(node: ast.BoolOp) -> Iterator[ast.AST]:
  yield _but(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())


def _unary(node: ast.UnaryOp) -> Iterator[ast.AST]:
  yield node.operand


def _constant(node: ast.Constant) -> Iterator[ast.AST]:
  if isinstance(node.value, bool):
    yield ast.Constant(not node.value)
  elif isinstance(node.value, (int, float)):
    more = node.value * 2 if isinstance(node.value, float) else node.value + 1
    yield from [ast.Constant(more)] if more != node.value else []
    if node.value in (0, 1):
      yield ast.Constant(type(node.value)(1 - node.value))


def _slice(node: ast.Slice) -> Iterator[ast.AST]:
  for bound in ('lower', 'upper'):
    if getattr(node, bound) is not None:
      yield _but(node, **{bound: None})


def _call(node: ast.Call) -> Iterator[ast.AST]:
  function = node.func
  if isinstance(function, ast.Attribute) and function.attr in _NAMES:
    yield _but(node, func=_but(function, attr=_NAMES[function.attr]))
  elif isinstance(function, ast.Name) and function.id in _NAMES:
    yield _but(node, func=_but(function, id=_NAMES[function.id]))
  elif isinstance(function, ast.Name) and function.id == 'sorted':
    yield _but(node, func=ast.Name('list'), keywords=[])
  elif isinstance(function, ast.Name) and function.id in ('int', 'float') and node.args:
    yield _but(node, args=[ast.BinOp(node.args[0], ast.Div(), ast.Constant(2))])


def _condition(node: Any) -> Iterator[ast.AST]:
  if not isinstance(node.test, (ast.Compare, ast.UnaryOp)):
    yield _but(node, test=ast.UnaryOp(ast.Not(), node.test))


def _return(node: ast.Return) -> Iterator[ast.AST]:
  if node.value is not None and ast.unparse(node.value) != 'None':
    yield _but(node, value=ast.Constant(None))


def _statement(node: ast.Expr) -> Iterator[ast.AST]:
  if isinstance(node.value, ast.Call):
    yield ast.Pass()


_KINDS: dict[type, Callable[[Any], Iterator[ast.AST]]] = {
  ast.Compare: _compare,
  ast.BinOp: _binary,
  ast.AugAssign: _binary,
  ast.BoolOp: _boolean,
  ast.UnaryOp: _unary,
  ast.Constant: _constant,
  ast.Slice: _slice,
  ast.Call: _call,
  ast.If: _condition,
  ast.IfExp: _condition,
  ast.Return: _return,
  ast.Expr: _statement,
}
