"""The same function written several times, in several frameworks: values and gradients of all, held against each other
and against differences of one of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from pullback.check.adapters import adapter_for, adapter_named, adapter_of, conjugated, is_inexact, spacing
from pullback.check.claim import read_claim
from pullback.check.compare import Examiner, Verdict
from pullback.check.forms import own_autodiff
from pullback.check.problem import Array, Problem, vector_of
from pullback.check.run import scales_of, slack_of
from pullback.transforms.tree import flatten

__all__ = ["Comparison", "compare_gradients"]

_NAMES: Final = {"np": "numpy", "pb": "pullback", "tf": "tensorflow", "keras": "tensorflow", "jnp": "jax"}


@dataclass
class Version:
    """One of the functions.

    verdict    that of differences of this function on its own gradient.
    error      what went wrong, if it could not be run.
    precision  the rounding that its numbers are allowed, relative.
    """

    name: str
    framework: str
    verdict: Verdict = "undecided"
    error: str = ""
    precision: float = 0.0
    evaluations: int = 0
    value: Array | None = None
    gradient: Array | None = None


@dataclass
class Difference:
    """What two versions disagree about: `what` is "value", "shape" or the name of an argument, `size` the largest
    difference, relative to the largest number there, and `bound` what rounding explains.
    """

    first: str
    second: str
    what: str
    size: float
    bound: float


@dataclass
class Comparison:
    """Whether versions of one function have the same values and gradients. It is true if all of them have, and none of
    the gradients is refuted.

    odd  the versions that are not with the majority, or whose gradient differences refute.
    """

    versions: list[Version]
    differences: list[Difference] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    seed: int = 0

    def __bool__(self) -> bool:
        ran = [v for v in self.versions if not v.error]
        return len(ran) == len(self.versions) and not self.differences and all(v.verdict == "confirmed" for v in ran)

    def to_dict(self) -> dict[str, Any]:
        """All of it as numbers, strings, lists and dicts, for JSON."""
        found = asdict(self)
        for version in found["versions"]:
            for key in ("value", "gradient"):
                version[key] = None if version[key] is None else version[key].tolist()
        return found

    def __str__(self) -> str:
        summary = "AGREE" if self else "DISAGREE" if self.differences or self.odd else "UNDECIDED"
        head = f"gradients of {len(self.versions)} versions: {summary} (seed {self.seed})"
        rows = [("version", "framework", "value", "|gradient|", "differences say")]
        for v in self.versions:
            if v.error or v.value is None or v.gradient is None:
                rows.append((v.name, v.framework, "-", "-", v.error or "-"))
                continue
            shown = f"{v.value[0]:.8g}" if v.value.size == 1 else f"{v.value.size} numbers"
            mark = "  <- differs" if v.name in self.odd else ""
            rows.append((v.name, v.framework, shown, f"{np.linalg.norm(v.gradient):.8g}", v.verdict + mark))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [head]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)]
            lines.append("  " + "  ".join([*cells, row[4]]).rstrip())
        for d in self.differences:
            what = "in value" if d.what == "value" else d.what if d.what == "shape" else f"in the gradient of {d.what}"
            lines.append(
                f"  {d.first} and {d.second} differ {what}: by {d.size:.2g}, where rounding makes {d.bound:.1g}"
            )
        return "\n".join(lines)


def compare_gradients(functions: Mapping[str, Callable[..., Any]], *args: Any, seed: int | None = None) -> Comparison:
    """Compare one function written several times: `{"numpy": f1, "torch": f2, "jax": f3, "tensorflow": f4}`.

    A key names the framework whose values the function is called with, "numpy" for arrays (differentiated by pullback);
    what stands after the name is free: "torch", "torch v2", "jax_custom". Another key than those means the framework
    that `args` are of. `args` are given once, as arrays, numbers or values of any framework, in containers. All
    values and gradients are computed, compared in pairs, and each gradient with differences of its own function.

    >>> import numpy as np
    >>> import pullback as pb
    >>> x = np.array([1.0, 2.0])
    >>> found = pb.compare_gradients({"numpy": lambda x: np.sum(x**3), "pullback": lambda x: (x * x * x).sum()}, x)
    >>> bool(found), found.odd
    (True, [])
    """
    seed = secrets.randbelow(2**32) if seed is None else seed
    versions = []
    cotangents: dict[int, Array] = {}
    paths: list[tuple[str, int, int]] = []
    for name, f in functions.items():
        version, found = _examined(name, f, args, seed, cotangents)
        versions.append(version)
        paths = paths or found
    differences = _differences(versions, paths)
    odd = _odd(versions, differences)
    return Comparison(versions, differences, odd, seed)


def _framework(name: str) -> str | None:
    """The framework that a key names."""
    word = name.replace("_", " ").replace("-", " ").split(" ")[0].lower()
    word = _NAMES.get(word, word)
    return word if word in ("numpy", "pullback", "torch", "jax", "tensorflow") else None


def _examined(
    name: str, f: Callable[..., Any], args: Any, seed: int, cotangents: dict[int, Array]
) -> tuple[Version, list[tuple[str, int, int]]]:
    """One function's value and gradient, and what differences say of it; and the names and places of its arguments."""
    framework = _framework(name)
    version = Version(name, framework or adapter_of(f, list(args)).name)
    try:
        own = own_autodiff(f, _converted(args, framework))
        problem = Problem(own.f, own.args)
        result = problem.result()
        version.value = vector_of(result)
        version.precision = slack_of(max(map(spacing, problem.floats(result))))
        rng = np.random.default_rng(seed)
        u = cotangents.setdefault(version.value.size, rng.standard_normal(version.value.size))
        if version.value.size == 1:
            u = np.ones(1)
        u = u.astype(np.float32).astype(np.float64)
        claim = read_claim(problem, conjugated(own.vjp)(_as_cotangent(result, u), *problem.arguments()[0]))
        version.gradient = claim.vector
        eps = problem.widen(result)
        examiner = Examiner(
            lambda v: np.atleast_1d(u @ problem(v)),
            problem.x,
            claim.vector,
            scales_of(problem),
            rng,
            places=claim.places,
            slack=version.precision,
            eps=eps,
        )
        version.verdict = "refuted" if claim.findings else examiner.examine().verdict
        version.evaluations = problem.calls
    except Exception as error:  # a version that does not run is one of the results
        version.error = f"{type(error).__name__}: {error}".split("\n")[0]
        return version, []
    return version, [(part.path, part.start, part.stop) for part in problem.parts]


def _converted(args: Any, framework: str | None) -> Any:
    """Arguments as the values of a framework."""
    if framework is None:
        return args
    leaves, tree = flatten(args)
    return tree.unflatten([_of(framework, x) if is_inexact(x) or hasattr(x, "shape") else x for x in leaves])


def _of(framework: str, value: Any) -> Any:
    array = adapter_for(value).array(value)
    if framework == "numpy":
        return array
    return adapter_named(framework).make(array)


def _as_cotangent(result: Any, u: Array) -> Any:
    leaves, tree = flatten(result)
    found, start = [], 0
    for leaf in leaves:
        if not is_inexact(leaf):
            found.append(leaf)
            continue
        array = adapter_for(leaf).array(leaf)
        size = array.size * (2 if array.dtype.kind == "c" else 1)
        piece = u[start : start + size].copy()
        start += size
        numbers = piece.view(np.complex128) if array.dtype.kind == "c" else piece
        found.append(adapter_for(leaf).like(leaf, numbers.reshape(array.shape).astype(array.dtype)))
    return tree.unflatten(found)


def _differences(versions: list[Version], paths: list[tuple[str, int, int]]) -> list[Difference]:
    """What the versions that ran disagree about, in pairs."""
    found = []
    for i, a in enumerate(versions):
        for b in versions[i + 1 :]:
            if a.error or b.error:
                continue
            assert a.value is not None
            assert b.value is not None
            assert a.gradient is not None
            assert b.gradient is not None
            bound = 10 * (a.precision + b.precision)
            if a.value.shape != b.value.shape or a.gradient.shape != b.gradient.shape:
                found.append(Difference(a.name, b.name, "shape", float("inf"), 0.0))
                continue
            pieces = [("value", a.value, b.value)]
            pieces += [(path, a.gradient[start:stop], b.gradient[start:stop]) for path, start, stop in paths]
            for what, x, y in pieces:
                size = _distance(x, y)
                if size > bound:
                    found.append(Difference(a.name, b.name, what, size, bound))
    return found


def _distance(a: Array, b: Array) -> float:
    """The largest difference, relative to the largest number; 0 where both are NaN or the same infinity."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    finite = np.isfinite(a) & np.isfinite(b)
    if not (finite | same).all():
        return float("inf")
    size = max(float(np.abs(a[finite]).max(initial=0.0)), float(np.abs(b[finite]).max(initial=0.0)))
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0)) / size


def _odd(versions: list[Version], differences: list[Difference]) -> list[str]:
    """The versions outside the largest group that agree with each other; a group that differences confirm goes first
    where sizes are equal. And those whose own differences refute them.
    """
    ran = [v for v in versions if not v.error]
    apart = {frozenset((d.first, d.second)) for d in differences}
    groups: list[list[Version]] = []
    for version in ran:
        home = next((g for g in groups if all(frozenset((version.name, o.name)) not in apart for o in g)), None)
        if home is None:
            groups.append([version])
        else:
            home.append(version)
    if not groups:
        return []
    best = max(groups, key=lambda g: (len(g), sum(v.verdict == "confirmed" for v in g)))
    tied = [g for g in groups if len(g) == len(best) and g is not best]
    confirmed = sum(v.verdict == "confirmed" for v in best)
    if any(sum(v.verdict == "confirmed" for v in g) == confirmed for g in tied):
        best = []  # nothing says who is right
    odd = [v.name for v in ran if v not in best] if len(groups) > 1 else []
    return odd + [v.name for v in ran if v.verdict == "refuted" and v.name not in odd]
