"""The statements of a source file by line: what each one assigns, and what it reads."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final

__all__ = ["Statement", "expression_at", "missing", "path_of", "reads_of", "statement_at", "value_at"]

_HEADERS: Final = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.Match)
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
missing: Final = object()


@dataclass(frozen=True, eq=False)
class Statement:
    """A statement, or the head of a compound one; what stands on one line together counts as one.

    assigned  the places that get a new value: names, attributes, entries of a container.
    written   the places whose value may be changed where it lies: `x` in `x[i] = 1`, `x += 1`, `f(x, out=y)`.
    read      the places that are read.
    returns   the expressions of a `return`, one for each element of a tuple; None if it isn't one.
    """

    line: int
    text: str
    nodes: tuple[ast.stmt, ...]
    assigned: tuple[ast.expr, ...] = ()
    written: tuple[ast.expr, ...] = ()
    read: tuple[ast.expr, ...] = ()
    returns: tuple[ast.expr, ...] | None = None

    @property
    def only(self) -> ast.stmt | None:
        """The statement, if it is a single one."""
        return self.nodes[0] if len(self.nodes) == 1 else None


def path_of(place: ast.expr, names: Any = None) -> str:
    """A place as its user writes it, `self.cache['z1']`; keys by their values, if the local names are given."""
    if names is not None and isinstance(place, ast.Subscript):
        key = _constant(place.slice, names)
        if key is not missing:
            return f"{path_of(place.value, names)}[{key!r}]"
    return ast.unparse(place)


def value_at(place: ast.expr, names: Any) -> Any:
    """The value at a place, in a frame with these local names; `missing` if that takes more than looking it up."""
    if isinstance(place, ast.Name):
        return names.get(place.id, missing)
    if isinstance(place, ast.Attribute):
        owner = value_at(place.value, names)
        attributes = getattr(owner, "__dict__", None) if owner is not missing else None
        return attributes.get(place.attr, missing) if isinstance(attributes, dict) else missing
    if isinstance(place, ast.Subscript):
        owner = value_at(place.value, names)
        key = _constant(place.slice, names)
        if key is missing:
            return missing
        try:
            if isinstance(owner, dict) or (isinstance(owner, list | tuple) and isinstance(key, int)):
                return owner[key]
        except (LookupError, TypeError):
            return missing
    return missing


def _constant(key: ast.expr, names: Any) -> Any:
    """What a key of simple expressions is: `'W' + str(layer)`, `f"W{layer}"`, `layer - 1`."""
    if isinstance(key, ast.Constant):
        return key.value
    for part in ast.walk(key):
        if isinstance(part, ast.Name):
            if part.id != "str" and not isinstance(names.get(part.id), int | str):
                return missing
        elif isinstance(part, ast.Call):
            if not isinstance(part.func, ast.Name) or part.func.id != "str" or part.keywords:
                return missing
        elif not isinstance(part, _SIMPLE):
            return missing
    try:
        code = compile(ast.fix_missing_locations(ast.Expression(key)), "<key>", "eval")
        return eval(code, {"__builtins__": {"str": str}}, {n: v for n, v in names.items() if isinstance(v, int | str)})
    except Exception:  # a key that can't be told is no key
        return missing


_SIMPLE: Final = (
    ast.Constant, ast.BinOp, ast.UnaryOp, ast.Tuple, ast.JoinedStr, ast.FormattedValue,
    ast.Load, ast.operator, ast.unaryop,
)  # fmt: skip


# Files


class _File:
    """The statements of a file by the lines they are on."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self.text = "".join(lines)
        self.lines = lines
        self.by_line: dict[int, Statement] = {}
        try:
            tree = ast.parse(self.text)
        except (SyntaxError, ValueError):
            return
        covers: dict[int, list[ast.stmt]] = {}
        for node in ast.walk(tree):
            if not isinstance(node, ast.stmt) or isinstance(node, _SCOPES):
                continue
            body = getattr(node, "body", None)
            last = node.end_lineno or node.lineno
            if isinstance(body, list) and body:
                last = max(node.lineno, body[0].lineno - 1)
            for line in range(node.lineno, last + 1):
                covers.setdefault(line, []).append(node)
        known: dict[tuple[int, ...], Statement] = {}
        for line, nodes in covers.items():
            key = tuple(map(id, nodes))
            if key not in known:
                known[key] = self._statement(tuple(nodes))
            self.by_line[line] = known[key]

    def _statement(self, nodes: tuple[ast.stmt, ...]) -> Statement:
        assigned: list[ast.expr] = []
        written: list[ast.expr] = []
        read: list[ast.expr] = []
        returns: tuple[ast.expr, ...] | None = None
        for node in nodes:
            for part in _own(node):
                if isinstance(part, ast.expr):
                    read += reads_of(part)
                    for inner in ast.walk(part):
                        if isinstance(inner, ast.NamedExpr):
                            assigned.append(inner.target)
                        elif isinstance(inner, ast.Call):
                            written += _out(inner)
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    _sort(target, assigned, written)
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                _sort(node.target, assigned, written)
            elif isinstance(node, ast.AugAssign):
                _sort(node.target, assigned, written)
                if not isinstance(node.target, ast.Subscript):
                    written.append(_loaded(node.target))
                read += reads_of(_loaded(node.target))
            elif isinstance(node, ast.For):
                _sort(node.target, assigned, written)
            elif isinstance(node, ast.With):
                for item in node.items:
                    if item.optional_vars is not None:
                        _sort(item.optional_vars, assigned, written)
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                written += _touched(node.value)
            elif isinstance(node, ast.Return) and node.value is not None:
                returns = tuple(node.value.elts) if isinstance(node.value, ast.Tuple) else (node.value,)
        first = nodes[0]
        text = self._text(first) if len(nodes) == 1 else self.lines[first.lineno - 1].strip()
        return Statement(first.lineno, text, nodes, tuple(assigned), tuple(written), tuple(read), returns)

    def _text(self, node: ast.stmt) -> str:
        last = node.end_lineno or node.lineno
        if isinstance(node, _HEADERS):
            last = node.lineno
        piece = self.lines[node.lineno - 1 : last]
        return " ".join(" ".join(line.strip() for line in piece).split())


def _own(node: ast.stmt) -> Iterator[ast.AST]:
    """The parts of a statement without the statements inside it, and without what it assigns."""
    for name, field in ast.iter_fields(node):
        if name in ("targets", "target", "body", "orelse", "finalbody", "handlers", "cases"):
            continue
        for part in field if isinstance(field, list) else [field]:
            if isinstance(part, ast.withitem):
                yield part.context_expr
            elif isinstance(part, ast.AST):
                yield part
    for target in getattr(node, "targets", [getattr(node, "target", None)]):
        if isinstance(target, ast.Subscript):
            yield target.slice


def reads_of(part: ast.AST) -> list[ast.expr]:
    """The longest paths that an expression reads."""
    if isinstance(part, ast.Name):
        return [part] if isinstance(part.ctx, ast.Load) else []
    if isinstance(part, ast.Attribute | ast.Subscript):
        inner = reads_of(part.slice) if isinstance(part, ast.Subscript) else []
        root: ast.expr = part
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        if isinstance(root, ast.Name):
            return [part, *_prefixes(part), *inner]
        return reads_of(part.value) + inner
    found = []
    for child in ast.iter_child_nodes(part):
        found += reads_of(child)
    return found


def _prefixes(part: ast.expr) -> list[ast.expr]:
    """`x.T` and `x[i]` read `x`."""
    found = []
    while isinstance(part, ast.Attribute | ast.Subscript):
        part = part.value
        found.append(part)
    return found


def _loaded(place: ast.expr) -> ast.expr:
    return ast.parse(ast.unparse(place), mode="eval").body


def _sort(target: ast.expr, assigned: list[ast.expr], written: list[ast.expr]) -> None:
    """Add the places of an assignment's target."""
    if isinstance(target, ast.Tuple | ast.List):
        for part in target.elts:
            _sort(part, assigned, written)
    elif isinstance(target, ast.Starred):
        _sort(target.value, assigned, written)
    else:
        assigned.append(target)
        if isinstance(target, ast.Subscript):
            written.append(_loaded(target.value))


def _out(call: ast.Call) -> list[ast.expr]:
    return [word.value for word in call.keywords if word.arg == "out"]


def _touched(call: ast.Call) -> list[ast.expr]:
    """What a call made for its effect may write to: its arguments, and the owner of the method."""
    places: list[ast.expr] = [arg for arg in call.args if isinstance(arg, ast.Name | ast.Attribute | ast.Subscript)]
    if isinstance(call.func, ast.Attribute):
        places.append(call.func.value)
    return places


_files: dict[str, tuple[list[str], _File]] = {}
_KEPT: Final = 64


def _file(name: str) -> _File:
    lines = linecache.getlines(name)
    known = _files.get(name)
    if known is None or known[0] != lines:
        if len(_files) >= _KEPT:
            _files.pop(next(iter(_files)), None)
        _files[name] = known = lines, _File(name, lines)
    return known[1]


def statement_at(code: CodeType, line: int) -> Statement:
    """The statement on a line of a code object; without a source, one that says nothing but the line."""
    file = _file(code.co_filename)
    found = file.by_line.get(line)
    if found is None:
        found = file.by_line[line] = Statement(line, linecache.getline(code.co_filename, line).strip(), ())
    return found


def expression_at(code: CodeType, instruction: int) -> str:
    """The source of the expression that an instruction of a code object evaluates; "" without a source."""
    positions = list(code.co_positions())
    if instruction // 2 >= len(positions):
        return ""
    line, last, start, end = positions[instruction // 2]
    if line is None or last is None or start is None or end is None:
        return ""
    lines = [text.encode() for text in _file(code.co_filename).lines[line - 1 : last]]
    if not lines:
        return ""
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    return " ".join(b"".join(lines).decode(errors="replace").split())
