"""Small changes of an expression, and what comes of them: which one makes a wrong line right."""

from __future__ import annotations

import ast
import builtins
import copy
import time
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, Final, NamedTuple

import numpy as np

from pullback.check.observe import Step

__all__ = ["Edit", "edits", "evaluate", "expression_of"]

_NODES: Final = 80
_NAMES: Final = 12
_LIBRARIES: Final = frozenset(("numpy", "math", "scipy", "torch", "jax"))
_BUILTINS: Final = frozenset(
    ("len", "float", "int", "abs", "sum", "max", "min", "range", "zip", "list", "tuple", "round")
)
_METHODS: Final = frozenset(
    "sum mean dot transpose reshape ravel copy astype clip max min prod squeeze flatten repeat swapaxes conj cumsum "
    "t numel size float double std var exp log sqrt tanh sigmoid abs square view unsqueeze expand matmul".split()
)
_FAMILIES: Final = (
    ("sin", "cos", "tan"), ("sinh", "cosh", "tanh"), ("exp", "log", "expm1", "log1p"), ("sum", "mean"),
    ("maximum", "minimum"), ("argmax", "argmin"), ("max", "min"), ("sqrt", "square"),
)  # fmt: skip
_TURNED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip
_MIRRORED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
}  # fmt: skip


class Edit(NamedTuple):
    """A changed expression, what came of it, and the kind of error that the change makes good; the name that was put in
    place of another, if that was the change.
    """

    text: str
    kind: str
    value: Any
    name: str | None = None


def expression_of(step: Step) -> ast.expr | None:
    """The expression whose value a step is; None if it is not just that."""
    node = step.statement.only
    if isinstance(node, ast.Return) and step.is_result:
        return next((e for e in step.statement.returns or () if ast.unparse(e) == step.name), None)
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            pairs = zip(target.elts, value.elts, strict=True)
            return next((e for place, e in pairs if ast.unparse(place) == step.name), None)
        if not isinstance(target, ast.Tuple | ast.List) and not isinstance(value, ast.Tuple):
            return value if isinstance(target, ast.Name | ast.Attribute) or ast.unparse(target) == step.name else None
    return None


def evaluate(step: Step, expression: ast.expr, changed: Mapping[str, Any]) -> Any:
    """The value of an expression where the step was, with the `changed` local names; None if there is none, or if the
    user's own functions would be called.
    """
    if step.scope is None:
        return None
    known, names = step.scope
    names = {**names, **{r.name: r.value for r in step.reads if type(names.get(r.name)) is np.ndarray}, **changed}
    if not _is_harmless(expression, known, names):
        return None
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            code = compile(ast.fix_missing_locations(ast.Expression(expression)), "<repair>", "eval")
            return eval(code, {**known, **names})
    except Exception:  # most changes make no sense
        return None


def _is_harmless(expression: ast.expr, known: Mapping[str, Any], names: Mapping[str, Any]) -> bool:
    """Whether an expression calls nothing but what is known to have no effect."""
    for part in ast.walk(expression):
        if isinstance(part, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom | ast.Lambda):
            return False
        if not isinstance(part, ast.Call):
            continue
        function = part.func
        root: ast.expr = function
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name):
            owner = names.get(root.id, known.get(root.id, getattr(builtins, root.id, None)))
            library = owner.__name__ if isinstance(owner, ModuleType) else getattr(owner, "__module__", None)
            if isinstance(owner, ModuleType) or function is root:
                plain = function is root and root.id in _BUILTINS and library == "builtins"
                if not plain and str(library).partition(".")[0] not in _LIBRARIES:
                    return False
                continue
        if not isinstance(function, ast.Attribute) or function.attr not in _METHODS:
            return False
    return True


def edits(step: Step, until: float) -> Iterator[Edit]:
    """What small changes of the expression of a step come to, the likelier ones first; none after the time `until`."""
    expression = expression_of(step)
    if expression is None or step.scope is None or sum(1 for _ in ast.walk(expression)) > _NODES:
        return
    for place, replacement, kind in _changes(expression, step):
        if time.monotonic() > until:
            return
        memo: dict[int, Any] = {}
        tree = copy.deepcopy(expression, memo)
        found = replacement if place is expression else _Swap(memo[id(place)], replacement).visit(tree)
        found = copy.deepcopy(found)
        value = evaluate(step, found, {})
        if value is not None:
            name = replacement.id if isinstance(replacement, ast.Name) and kind == "wrong_point" else None
            yield Edit(ast.unparse(found), kind, value, name)


class _Swap(ast.NodeTransformer):
    def __init__(self, place: ast.AST, replacement: ast.expr) -> None:
        self.place, self.replacement = place, replacement

    def visit(self, node: ast.AST) -> Any:
        return self.replacement if node is self.place else self.generic_visit(node)


def _changes(expression: ast.expr, step: Step) -> Iterator[tuple[ast.expr, ast.expr, str]]:
    """What to put in place of what."""
    assert step.scope is not None
    names = step.scope[1]
    parts = [part for part in ast.walk(expression) if isinstance(part, ast.expr)]
    functions = {part.func for part in parts if isinstance(part, ast.Call)}
    factors = [
        p
        for part in parts
        if isinstance(part, ast.BinOp)
        for p in (part.left, part.right)
        if isinstance(part.op, ast.MatMult)
    ]
    factors += [p for part in parts if isinstance(part, ast.Call) for p in part.args]
    read = {p.value if isinstance(p, ast.Attribute) and p.attr == "T" else p for p in factors}
    for part in parts:
        if isinstance(part, ast.BinOp) and type(part.op) in _TURNED:
            yield part, ast.BinOp(part.left, _TURNED[type(part.op)](), part.right), "wrong_formula"
        if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.USub):
            yield part, part.operand, "wrong_formula"
        if isinstance(part, ast.Attribute) and part.attr == "T":
            yield part, part.value, "transpose"
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.MatMult):
            yield part, ast.BinOp(ast.Attribute(part.left, "T", ast.Load()), ast.MatMult(), part.right), "transpose"
            yield part, ast.BinOp(part.left, ast.MatMult(), ast.Attribute(part.right, "T", ast.Load())), "transpose"
        if isinstance(part, ast.Compare) and len(part.ops) == 1 and type(part.ops[0]) in _MIRRORED:
            yield part, ast.Compare(part.left, [_MIRRORED[type(part.ops[0])]()], part.comparators), "wrong_formula"
        if isinstance(part, ast.Attribute) and part in functions:
            for family in _FAMILIES:
                if part.attr in family:
                    kind = "sum_for_mean" if "mean" in family else "index" if "argmax" in family else "wrong_formula"
                    for name in family:
                        if name != part.attr:
                            yield part, ast.Attribute(part.value, name, ast.Load()), kind
        if isinstance(part, ast.Call):
            for word in part.keywords:
                if word.arg in ("axis", "dim") and isinstance(word.value, ast.Constant | ast.UnaryOp):
                    for axis in (0, 1, 2, -1):
                        yield word.value, ast.Constant(axis), "axis"
        if isinstance(part, ast.Subscript) and "::-1" in ast.unparse(part.slice):
            yield part, part.value, "index"
        if isinstance(part, ast.Subscript) and isinstance(part.slice, ast.BinOp | ast.Name | ast.Constant):
            for shift in (1, -1):
                moved = ast.BinOp(part.slice, ast.Add(), ast.Constant(shift))
                yield part, ast.Subscript(part.value, moved, ast.Load()), "index"
        if isinstance(part, ast.Constant) and type(part.value) in (int, float):
            number: Any = part.value
            for other in (number + 1, number - 1, 2 * number, number / 2):
                yield part, ast.Constant(other), "wrong_formula"
    for part in parts:
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mult | ast.Div | ast.Add | ast.Sub):
            for inner in (part.left,) if isinstance(part.op, ast.Div) else (part.left, part.right):
                # a value that something is done to before it is read
                is_point = part in read and isinstance(inner, ast.Name)
                yield part, inner, "wrong_point" if is_point else "wrong_formula"
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Pow):
            yield part, part.left, "wrong_formula"
    for part in parts:
        if not isinstance(part, ast.Name) or part in functions or not hasattr(names.get(part.id), "shape"):
            continue
        yield part, ast.BinOp(part, ast.Pow(), ast.Constant(2)), "wrong_formula"
        shape = names[part.id].shape
        others = [n for n, v in names.items() if n != part.id and getattr(v, "shape", None) == shape]
        for name in others[:_NAMES]:
            yield part, ast.Name(name, ast.Load()), "wrong_point"
