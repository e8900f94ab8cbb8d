"""Constraints between genes: a small, safe expression language.

Numbers, text, True and False, the names of genes and train settings, `+ - * / // % **`, chained comparisons,
`and`, `or`, `not`, parentheses, and the functions min, max, abs, log, log10 and sqrt. Python parses the text;
nothing of it is compiled or run: this module walks the syntax tree and knows no other nodes than these.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from evolve.space.validation import show, suggest
from evolve.trial import Json

MAX_LENGTH = 500
MAX_DEPTH = 50
_LARGEST = 1e300


class Kind(StrEnum):
    """What a value is; an expression whose kinds do not fit is refused before it is ever evaluated."""

    NUMBER = "a number"
    BOOLEAN = "true or false"
    TEXT = "text"
    MIXED = "of several kinds"


def kind_of(value: object) -> Kind:
    """The kind of a number, truth value or text."""
    if isinstance(value, bool):
        return Kind.BOOLEAN
    return Kind.TEXT if isinstance(value, str) else Kind.NUMBER


_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: math.pow,  # bounded by the range of floats, where integers would grow without end
}
_EQUALITY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
_ORDER: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_COMPARISONS = _EQUALITY | _ORDER
_ONE_ARGUMENT: dict[str, Callable[[Any], float]] = {
    "abs": abs,
    "log": math.log,
    "log10": math.log10,
    "sqrt": math.sqrt,
}
_MANY_ARGUMENTS: dict[str, Callable[..., float]] = {"min": min, "max": max}
_FUNCTIONS: dict[str, Callable[..., float]] = {**_ONE_ARGUMENT, **_MANY_ARGUMENTS}


@dataclass(frozen=True)
class Constraint:
    """A rule over the values of genes, e.g. `batch <= 32 or imgsz <= 640`.

    Attributes:
        text: As it was written; equal texts are equal constraints.
        names: The genes and settings that it mentions.
    """

    text: str
    names: frozenset[str] = field(compare=False, repr=False)
    _tree: ast.expr = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: object) -> Constraint:
        """Read a constraint.

        Raises:
            ValueError: if it is no expression, too long or too deep.
        """
        if isinstance(text, Constraint):
            return text
        if not isinstance(text, str):
            raise ValueError(f"must be an expression in quotes, but got {show(text)}")
        if len(text) > MAX_LENGTH:
            raise ValueError(f"must be at most {MAX_LENGTH} characters long, but got {len(text)}")
        tree = _syntax_tree(text)
        if _depth(tree) > MAX_DEPTH:
            raise ValueError(f"must be nested at most {MAX_DEPTH} deep; split it into several constraints")
        functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in functions)
        return cls(text, frozenset(name.id for name in names), tree)

    def check(self, kinds: Mapping[str, Kind]) -> None:
        """Refuse unknown names, nodes outside the language and operations on the wrong kind of value.

        Raises:
            ValueError: with the first of these.
        """
        kind = _infer(self._tree, kinds)
        if kind is not Kind.BOOLEAN:
            raise ValueError(f"{self.text!r} must be true or false, but it is {kind}; compare it with something")

    def holds(self, values: Mapping[str, Json]) -> bool:
        """Whether the rule holds; it does where a name has no value, as for a gene that does not exist.

        Where a value cannot be computed (a division by zero, the logarithm of a negative number, an overflow), the
        rule is violated.
        """
        if not self.names <= values.keys():
            return True
        try:
            return _evaluate(self._tree, values) is True
        except (ArithmeticError, ValueError):
            return False

    def __str__(self) -> str:
        return self.text


def _syntax_tree(text: str) -> ast.expr:
    if "\\" in text or not text.isprintable():
        raise ValueError(f"backslashes and control characters are not allowed, but got {show(text)}")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or "too deeply nested"
        raise ValueError(f"{show(text)} is not an expression: {reason}") from None


def _depth(tree: ast.expr) -> int:
    deepest, level = 0, list[ast.AST]([tree])
    while level:
        deepest += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return deepest


def _infer(node: ast.expr, kinds: Mapping[str, Kind]) -> Kind:  # noqa: PLR0911 - one case a kind of node
    match node:
        case ast.Constant(value=bool() | str() as value):
            return kind_of(value)
        case ast.Constant(value=int() | float() as value) if abs(value) <= _LARGEST:
            return Kind.NUMBER
        case ast.Name(id=name):
            if name not in kinds:
                raise ValueError(f"unknown name {name!r}{suggest(name, [*kinds, 'True', 'False'])}")
            return kinds[name]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _require(Kind.BOOLEAN, [operand], kinds)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _require(Kind.NUMBER, [operand], kinds)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _require(Kind.NUMBER, [left, right], kinds)
        case ast.BoolOp(values=operands):
            return _require(Kind.BOOLEAN, operands, kinds)
        case ast.Compare(ops=ops) if all(type(op) in _COMPARISONS for op in ops):
            return _infer_comparison(node, kinds)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            if (len(arguments) == 1) != (name in _ONE_ARGUMENT) or not arguments:
                needed = "one argument" if name in _ONE_ARGUMENT else "two arguments or more"
                raise ValueError(f"{name} takes {needed}, but got {show(ast.unparse(node))}")
            return _require(Kind.NUMBER, arguments, kinds)
        case ast.Call(func=ast.Name(id=name)) if name not in _FUNCTIONS:
            raise ValueError(f"unknown function {name!r}{suggest(name, _FUNCTIONS)}")
    raise ValueError(f"{show(ast.unparse(node))} is not part of the constraint language; see reference.yaml")


def _infer_comparison(node: ast.Compare, kinds: Mapping[str, Kind]) -> Kind:
    operands = [node.left, *node.comparators]
    for left, op, right in zip(operands, node.ops, operands[1:], strict=False):
        if type(op) in _ORDER:
            _require(Kind.NUMBER, [left, right], kinds)
            continue
        both = {_infer(left, kinds), _infer(right, kinds)}
        if len(both) > 1 and Kind.MIXED not in both:
            raise ValueError(f"{show(ast.unparse(node))} compares values that can never be equal")
    return Kind.BOOLEAN


def _require(kind: Kind, operands: list[ast.expr], kinds: Mapping[str, Kind]) -> Kind:
    for operand in operands:
        got = _infer(operand, kinds)
        if got is not kind:
            raise ValueError(f"{show(ast.unparse(operand))} must be {kind} here, but it is {got}")
    return kind


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - one case a kind of node
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _evaluate(operand, values)
        case ast.UnaryOp(op=op, operand=operand):
            value = _evaluate(operand, values)
            return -value if isinstance(op, ast.USub) else value
        case ast.BinOp(left=left, op=op, right=right):
            return _finite(_ARITHMETIC[type(op)](_evaluate(left, values), _evaluate(right, values)))
        case ast.BoolOp(op=op, values=operands):
            quantifier = all if isinstance(op, ast.And) else any
            return quantifier(_evaluate(operand, values) for operand in operands)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            return _compare(_evaluate(left, values), ops, comparators, values)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _finite(_FUNCTIONS[name](*(_evaluate(argument, values) for argument in arguments)))
    raise AssertionError(f"{ast.dump(node)} passed the check")  # pragma: no cover


def _compare(left: Any, ops: list[ast.cmpop], comparators: list[ast.expr], values: Mapping[str, Any]) -> bool:
    for op, comparator in zip(ops, comparators, strict=True):
        right = _evaluate(comparator, values)
        if not _COMPARISONS[type(op)](left, right):
            return False
        left = right
    return True


def _finite(value: float) -> float:
    """Refuse infinities, which products of floats reach without an error."""
    if not math.isfinite(value):
        raise OverflowError
    return value
