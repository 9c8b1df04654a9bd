"""Checks of what is not a gradient: products with tangents, Jacobians, Hessians."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from pullback.check.adapters import adapter_for, is_inexact, spacing
from pullback.check.curvature import examine_curvature
from pullback.check.linear import Cell, Indices, MapExaminer, MapOutcome, signature
from pullback.check.problem import Array, Part, Problem, numbers_of, vector_of
from pullback.check.reference import reference_gradient
from pullback.check.report import Finding, Report
from pullback.check.run import check_vjp, scales_of, slack_of
from pullback.transforms.tree import flatten

__all__ = ["check_hessian", "check_jacobian", "check_jvp"]

_ALL: Final = 64  # a matrix of this many columns is measured as a whole once it is refuted


class _Setting:
    """A function at a point, the arrays that it returns, and how exactly it computes."""

    def __init__(self, f: Callable[..., Any], args: Sequence[Any], seed: int | None) -> None:
        self.seed = secrets.randbelow(2**32) if seed is None else seed
        self.rng = np.random.default_rng(self.seed)
        self.problem = Problem(f, args)
        if not self.problem.parts:
            raise TypeError("there are no floats among the arguments: a derivative is with respect to floats")
        self.result = self.problem.result()
        self.outs = [x for x in flatten(self.result)[0] if is_inexact(x)]
        if not self.outs:
            raise TypeError("the function returns no floats: there is nothing to differentiate")
        self.shapes = [np.shape(adapter_for(x).array(x)) for x in self.outs]
        self.slack = slack_of(max(map(spacing, self.problem.floats(self.result))))
        self.eps = self.problem.widen(self.result)
        self.scales = scales_of(self.problem)
        self.name = getattr(f, "__name__", "f")
        self.is_hessian = False

    @property
    def is_complex(self) -> bool:
        return any("complex" in str(getattr(x, "dtype", "")) for x in self.problem.floats(self.result))

    def examiner(self, claim: Callable[[Array], Array], f: Callable[[Array], Array] | None = None) -> MapExaminer:
        return MapExaminer(
            self.problem if f is None else f,
            self.problem.x,
            claim,
            self.scales,
            self.rng,
            slack=self.slack,
            eps=self.eps,
        )

    def part(self, column: int) -> Part:
        return next(p for p in self.problem.parts if p.start <= column < p.stop)

    def place(self, column: int) -> str:
        """How to write one number among the arguments."""
        part = self.part(column)
        index = part.index(column)
        return f"{part.path}{list(index) if index else ''}"

    def row(self, row: int) -> str:
        """How to call a result."""
        if self.is_hessian:
            return self.place(row)
        for number, shape in enumerate(self.shapes):
            size = int(np.prod(shape)) * (2 if "complex" in str(getattr(self.outs[number], "dtype", "")) else 1)
            if row < size:
                flat = row // (size // max(int(np.prod(shape)), 1))
                index = [int(i) for i in np.unravel_index(flat, shape)] if shape else ""
                return f"{'the result' if len(self.shapes) == 1 else f'result {number}'}{index}"
            row -= size
        return f"result {row}"

    def report(self, outcome: MapOutcome, what: str, findings: Sequence[Finding] = ()) -> Report:
        ordered = sorted(findings, key=lambda finding: -finding.score)
        kinks = []
        if outcome.kinks and outcome.verdict == "confirmed":
            text = "the function has a kink here: what is claimed lies between the slopes of the two sides"
            kinks.append(Finding("kink", text, score=0.2))
        return Report(
            outcome.verdict,
            [*ordered, *kinks],
            evaluations=self.problem.calls,
            reason=outcome.reason,
            seed=self.seed,
            name=self.name,
            what=what,
        )


# Products with tangents


def check_jvp(f: Callable[..., Any], jvp: Callable[..., Any], *args: Any, seed: int | None = None) -> Report:
    """Whether `jvp` pushes tangents of the arguments forward to those of `f(*args)`.

    `jvp(*args, *tangents)`, or `jvp(primals, tangents)` with two tuples if it takes two arguments and `f` takes more
    than one; it returns the tangent of the result, or the result and its tangent. Tangents are like the arguments; of
    what holds no floats, they are that itself.

    >>> import numpy as np
    >>> from pullback.check import check_jvp
    >>> check_jvp(lambda x, y: x * np.sin(y),
    ...           lambda x, y, dx, dy: dx * np.sin(y) + x * dy * np.cos(y), 2.0, 3.0).verdict
    'confirmed'
    """
    setting = _Setting(f, args, seed)
    problem = setting.problem
    as_tuples = len(args) > 1 and _takes_only_two(jvp)

    def claim(direction: Array) -> Array:
        primals, _ = problem.arguments()
        tangents, _ = problem.arguments(direction, narrow=True)
        given = jvp(primals, tangents) if as_tuples else jvp(*primals, *tangents)
        found = vector_of(given)
        size = sum(vector_of(x).size for x in setting.outs)
        if found.size == 2 * size:  # the result, too
            found = found[size:]
        if found.size != size:
            raise ValueError(f"{setting.name} returns {size} numbers, and its claimed tangent has {found.size}")
        return found

    examiner = setting.examiner(claim)
    groups = [np.arange(p.start, p.stop) for p in problem.parts]
    outcome = examiner.examine(groups)
    return setting.report(outcome, "tangent", _cells(setting, outcome) + _tangents(setting, examiner, outcome))


def _takes_only_two(f: Callable[..., Any]) -> bool:
    try:
        inspect.signature(f).bind(None, None)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _tangents(setting: _Setting, examiner: MapExaminer, outcome: MapOutcome) -> list[Finding]:
    """What the tangents of each argument have in common with what they should be."""
    findings = []
    for part in setting.problem.parts:
        if outcome.verdict != "refuted" or not any(part.start <= c.column < part.stop for c in outcome.wrong):
            continue
        test = examiner.test(np.arange(part.start, part.stop))
        found = signature(test.claimed, test.value, f"the share of {part.path} in the tangent")
        if found is not None:
            findings.append(Finding(*found, argument=part.path, score=0.95))
    return findings


# Jacobians


def check_jacobian(f: Callable[..., Any], claim: Any, *args: Any, seed: int | None = None) -> Report:
    """Whether a Jacobian is right: `claim(*args)`, or the numbers, of shape `result.shape + argument.shape`.

    A tuple of those has one for each argument that holds floats; for a function of several results, a tuple of such
    tuples. A matrix of `(result.size, argument.size)` is taken too.

    >>> import numpy as np
    >>> from pullback.check import check_jacobian
    >>> x = np.array([1.0, 2.0])
    >>> check_jacobian(lambda x: x**2, np.diag(2 * x), x).verdict
    'confirmed'
    """
    setting = _Setting(f, args, seed)
    if setting.is_complex:
        raise TypeError("check_jacobian is about real functions: use check_vjp or check_jvp for complex ones")
    problem = setting.problem
    given = claim(*problem.arguments()[0]) if callable(claim) else claim
    matrix, findings = _assembled(given, setting.shapes, problem.parts)
    if matrix is None:
        return setting.report(MapOutcome("refuted"), "Jacobian", findings)
    examiner = setting.examiner(lambda direction: matrix @ direction)
    outcome = examiner.examine(_groups(matrix, setting))
    if outcome.verdict == "refuted":
        findings = _cells(setting, outcome) + _matrix_findings(setting, examiner, matrix, outcome)
        findings += _explained(f, matrix, setting, args)
    return setting.report(outcome, "Jacobian", findings)


def _assembled(
    given: Any, rows: Sequence[tuple[int, ...]], parts: Sequence[Part]
) -> tuple[Array | None, list[Finding]]:
    """The claimed blocks as one matrix; None and why, if one does not have its shape."""
    leaves = [adapter_for(x).array(x) for x in flatten(given)[0]]
    columns = [part.shape for part in parts]
    height, width = (sum(int(np.prod(s)) for s in shapes) for shapes in (rows, columns))
    if len(leaves) == 1 and leaves[0].shape == (height, width):
        return numbers_of(leaves[0]).reshape(height, width), []
    if len(leaves) != len(rows) * len(columns):
        raise ValueError(
            f"the claim has {len(leaves)} arrays: {len(rows)} results and {len(columns)} arguments make "
            f"{len(rows) * len(columns)}"
        )
    findings = []
    blocks = []
    for i, row in enumerate(rows):
        line = []
        for j, column in enumerate(columns):
            block = leaves[i * len(columns) + j]
            size = int(np.prod(row)), int(np.prod(column))
            if block.shape not in (row + column, size):
                kind = "transpose" if block.shape in (column + row, size[::-1]) else "broadcast"
                text = (
                    f"the block for {parts[j].path} has shape {block.shape}, and should have {row + column}: "
                    f"that of the result {row}, then that of {parts[j].path} {column}"
                )
                findings.append(Finding(kind, text, argument=parts[j].path, score=0.95))
            else:
                line.append(numbers_of(block).reshape(size))
        blocks.append(line)
    return (None, findings) if findings else (np.block(blocks), [])


def _groups(matrix: Array, setting: _Setting) -> list[Indices]:
    """The columns in groups that count alike, part by part."""
    row_sizes = np.abs(matrix * setting.scales).max(axis=1, keepdims=True, initial=0.0)
    relative = np.abs(matrix * setting.scales) / np.where(row_sizes > 0, row_sizes, 1.0)
    sizes = relative.max(axis=0, initial=0.0)
    groups: list[Indices] = []
    for part in setting.problem.parts:
        decades = np.floor(-np.log10(np.where(sizes > 0, sizes, 1e-30))[part.start : part.stop] / 3.0)
        decades = np.clip(decades, 0, 5)
        groups += [part.start + np.flatnonzero(decades == d) for d in np.unique(decades)]
    return groups


def _cells(setting: _Setting, outcome: MapOutcome) -> list[Finding]:
    """The wrong entries; a row or a column of which all are wrong, as one."""
    findings: list[Finding] = []
    rows = {cell.row for cell in outcome.wrong}
    columns = {cell.column for cell in outcome.wrong}
    height, width = sum(max(int(np.prod(s)), 1) for s in setting.shapes), setting.problem.x.size
    if len(rows) == 1 and len(columns) > 1:
        text = f"only the row of {setting.row(next(iter(rows)))} is wrong"
        findings.append(Finding("entry", text, score=0.3))
    elif len(columns) == 1 and width > 1 and len(rows) > 1 and height > 1:
        part = setting.part(next(iter(columns)))
        index = part.index(next(iter(columns)))
        text = f"only the column of {setting.place(next(iter(columns)))} is wrong"
        findings.append(Finding("entry", text, argument=part.path, index=index, score=0.3))
    return findings + [_cell(setting, cell) for cell in outcome.wrong[:8]]


def _cell(setting: _Setting, cell: Cell) -> Finding:
    part = setting.part(cell.column)
    index = part.index(cell.column)
    by = setting.place(cell.column)
    if setting.is_hessian:
        what = f"the second derivative by {setting.place(cell.row)} and {by}"
    else:
        what = f"the derivative of {setting.row(cell.row)} by {by}"
    return Finding(
        "entry",
        f"{what} is claimed {cell.claimed:.6g}, and should be {cell.expected:.6g} ± {cell.bound:.1g}",
        argument=part.path,
        index=index,
        claimed=float(cell.claimed),
        expected=float(cell.expected),
        bound=float(cell.bound),
        score=0.1,
    )


def _matrix_findings(
    setting: _Setting, examiner: MapExaminer, matrix: Array, outcome: MapOutcome, name: str = "the Jacobian"
) -> list[Finding]:
    """Whether a refuted matrix is the true one but for a simple change, as a whole or in the columns of an argument."""
    if matrix.shape[1] > _ALL:
        return []
    for column in range(matrix.shape[1]):
        if column not in outcome.columns:
            test = examiner.test(np.array([column]))
            outcome.columns[column] = test.value / test.direction[column]
    expected = np.stack([outcome.columns[j] for j in range(matrix.shape[1])], axis=1)
    found = signature(matrix, expected, name)
    if found is not None:
        return [Finding(*found, score=1.0)]
    findings = []
    for part in setting.problem.parts if len(setting.problem.parts) > 1 else ():
        block = slice(part.start, part.stop)
        if any(part.start <= cell.column < part.stop for cell in outcome.wrong):
            found = signature(matrix[:, block], expected[:, block], f"{name} by {part.path}")
            if found is not None:
                findings.append(Finding(*found, argument=part.path, score=0.95))
    for row in sorted({cell.row for cell in outcome.wrong})[:4] if len(matrix) > 1 else ():
        found = signature(matrix[row], expected[row], f"the row of {setting.row(row)}")
        if found is not None:
            findings.append(Finding(*found, score=0.9))
    return findings


def _explained(f: Callable[..., Any], matrix: Array, setting: _Setting, args: Sequence[Any]) -> list[Finding]:
    """What explains the claim as that of a vjp, which is a Jacobian's transpose times a cotangent."""

    def vjp(cotangent: Any, *xs: Any) -> tuple[Any, ...]:
        pulled = matrix.T @ vector_of(cotangent)
        leaves, tree = flatten(xs)
        found: list[Any] = [None] * len(leaves)
        for part in setting.problem.parts:
            found[part.leaf] = part.array(pulled)
        return tree.unflatten(found)  # type: ignore[no-any-return]

    report = check_vjp(f, vjp, *args, seed=setting.seed)
    setting.problem.calls += report.evaluations
    return [finding for finding in report.findings if finding.kind != "entry" and finding.score < 1.0]


# Hessians


def check_hessian(f: Callable[..., Any], claim: Any, *args: Any, seed: int | None = None) -> Report:
    """Whether the matrix of second derivatives of a scalar function is right: `claim(*args)`, or the numbers, of shape
    `argument.shape + argument.shape`; for several arguments, a tuple of tuples of those. A matrix of
    `(argument.size, argument.size)` is taken too.

    Differences of the gradient by pullback's own tape decide, if differences of the function have confirmed it; else
    second differences of the function.

    >>> import numpy as np
    >>> from pullback.check import check_hessian
    >>> x = np.array([1.0, 2.0])
    >>> check_hessian(lambda x: np.sum(x**3), lambda x: np.diag(6 * x), x).verdict
    'confirmed'
    """
    setting = _Setting(f, args, seed)
    if setting.is_complex:
        raise TypeError("check_hessian is about real functions")
    problem = setting.problem
    if sum(int(np.prod(shape)) for shape in setting.shapes) != 1:
        raise ValueError(f"the function returns arrays of shapes {setting.shapes}, not one number: it has no Hessian")
    given = claim(*problem.arguments()[0]) if callable(claim) else claim
    shapes = [part.shape for part in problem.parts]
    matrix, findings = _assembled(given, shapes, problem.parts)
    if matrix is None:
        return setting.report(MapOutcome("refuted"), "Hessian", findings)
    uneven = _asymmetry(setting, matrix)
    setting.is_hessian, setting.shapes = True, shapes  # the rows are those of the gradient
    gradient = _trusted_gradient(setting, f)
    if gradient is None:
        outcome = examine_curvature(
            lambda v: np.atleast_1d(problem(v)),
            problem.x,
            matrix,
            setting.scales,
            setting.rng,
            slack=setting.slack,
            eps=setting.eps,
        )
        findings = _cells(setting, outcome)
        if outcome.verdict == "refuted" and len(outcome.columns) == matrix.shape[1]:
            expected = np.stack([outcome.columns[j] for j in range(matrix.shape[1])], axis=1)
            found = signature(matrix, expected, "the Hessian", 1e-4)
            findings += [Finding(*found, score=1.0)] if found is not None else []
    else:
        examiner = setting.examiner(lambda direction: matrix @ direction, gradient)
        outcome = examiner.examine(_groups(matrix, setting))
        findings = _cells(setting, outcome)
        if outcome.verdict == "refuted":
            findings += _matrix_findings(setting, examiner, matrix, outcome, "the Hessian")
    if uneven is not None:
        outcome.verdict = "refuted"
        findings.append(uneven)
    return setting.report(outcome, "Hessian", findings)


def _asymmetry(setting: _Setting, matrix: Array) -> Finding | None:
    """That a claimed Hessian is not symmetric, if it isn't."""
    size = np.maximum(np.abs(matrix), np.abs(matrix.T))
    scaled = np.outer(setting.scales, setting.scales)
    rounding = 1e-9 * np.abs(matrix * scaled).max(initial=0.0) / scaled
    off = np.abs(matrix - matrix.T) - 10 * setting.slack * size - rounding
    if not np.any(off > 0):
        return None
    i, j = (int(k) for k in np.unravel_index(np.argmax(off * scaled), off.shape))
    a, b = setting.place(i), setting.place(j)
    text = (
        f"a Hessian is symmetric, and this one is not: the entry of {a} and {b} is claimed {matrix[i, j]:.6g}, "
        f"that of {b} and {a} {matrix[j, i]:.6g}"
    )
    return Finding("entry", text, argument=setting.part(i).path, score=0.4)


def _trusted_gradient(setting: _Setting, f: Callable[..., Any]) -> Callable[[Array], Array] | None:
    """The gradient by pullback's tape as a function of the vector, if differences confirm it here."""
    problem = setting.problem
    one = np.ones(1)
    here = reference_gradient(problem, one)
    if here is None or not np.isfinite(here).all():
        return None

    def pull(cotangent: Any, *xs: Any) -> tuple[Any, ...]:
        leaves, tree = flatten(xs)
        found: list[Any] = [None] * len(leaves)
        for part in problem.parts:
            found[part.leaf] = part.array(here * vector_of(cotangent)[0])
        return tree.unflatten(found)  # type: ignore[no-any-return]

    report = check_vjp(f, pull, *problem.arguments()[0], seed=setting.seed)
    problem.calls += report.evaluations
    if report.verdict != "confirmed":
        return None

    def gradient(v: Array) -> Array:
        found = reference_gradient(problem, one, v)
        return np.full_like(v, np.nan) if found is None else found

    return gradient
