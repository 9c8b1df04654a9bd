"""Writes docs/api.md: every function, with its modes and dtypes as they are found by calling it.

    python docs/make_api.py [--check]

Ops are called on their samples, NumPy's functions as `tests/numpy_calls.py` says, PyTorch's names on a first sample of
PyTorch's operator database that has floats, SciPy's functions on the operands of the tests or on plain vectors and
matrices. With `--check` nothing is written, and the exit code says whether the page is current.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import pullback as pb  # noqa: E402
from pullback.ops.table import NOT_LOWERED, TABLE, Op, Unsupported  # noqa: E402
from pullback.scipy.table import FUNCTIONS as SCIPY  # noqa: E402
from pullback.tape.node import new_handle  # noqa: E402
from pullback.tensor.numpy_api.table import FUNCTIONS as NUMPY  # noqa: E402

PAGE = ROOT / "docs" / "api.md"
INTRODUCTION = """# Every function, and what can be done with it

Made by `make api` from the tables and by calling each function; do not edit.

- *reverse*: gradients (`backward`, `pb.grad`); *forward*: `pb.jvp`; *batch*: `pb.vmap`.
- *dtypes*: what a call was seen to keep: f2, f4, f8 for float16, float32, float64, c16 for complex128.
- Of a family of `scipy.stats` it is the log-density or log-mass that was called.
- A gap has its reason. `·` stands where nothing was called: functions of functions, and of things other than arrays.
- Of an op it is said what `pb.jit` makes of it; see [compiler.md](compiler.md).
"""
MODES = ("reverse", "forward", "batch")


class Probe(NamedTuple):
    """What calling a function showed."""

    modes: dict[str, bool]
    dtypes: tuple[str, ...]
    reason: str


# Calling


def _leaves(x: Any) -> Iterator[Any]:
    if isinstance(x, list | tuple):
        for item in x:
            yield from _leaves(item)
    elif isinstance(x, dict):
        for item in x.values():
            yield from _leaves(item)
    elif hasattr(x, "dtype"):
        yield x


def _dtype(x: Any) -> np.dtype[Any]:
    return np.dtype(getattr(x, "_value", x).dtype)


def _inexact(x: Any) -> bool:
    return isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "fc"


def _floats(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, giving the tuple of those of its results that are floats or complex."""

    def function(*xs: Any) -> tuple[Any, ...]:
        return tuple(y for y in _leaves(f(*xs)) if _dtype(y).kind in "fc")

    return function


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    if " needs plain numbers" in text:
        return text.partition(", and this tensor")[0]
    for stop in (": ", ". ", "; "):
        head = text.partition(stop)[0]
        if len(head) > 30:
            text = head
    return f"{type(error).__name__}: {text[:110]}".replace("|", "\\|")


def _attempt(run: Callable[[], Any]) -> Exception | None:
    try:
        run()
    except Exception as error:  # whatever a function raises is what the page reports
        return error
    return None


def probed(f: Callable[..., Any], operands: list[Any], moving: Any = None) -> Probe:
    """Call `f`, a function of the operands, in every mode and dtype; all floats are differentiated, or those said."""
    moving = [i for i, x in enumerate(operands) if _inexact(x)] if moving is None else list(moving)
    function = _floats(f)

    def of_moving(*xs: Any) -> tuple[Any, ...]:
        full = list(operands)
        for i, x in zip(moving, xs, strict=True):
            full[i] = x
        return function(*full)

    xs = [operands[i] for i in moving]
    ones = tuple(np.ones_like(x) for x in xs)
    reasons: dict[str, str] = {}

    def reverse() -> None:
        handles = [new_handle(np.array(x)).requires_grad_() for x in xs]
        if not handles or not any(y.requires_grad for y in of_moving(*handles) if isinstance(y, pb.Tensor)):
            raise NotImplementedError("the result does not vary continuously with its operands")
        values, pull = pb.vjp(of_moving, *xs)
        pull(tuple(np.ones_like(v) for v in values))

    def forward() -> None:
        if not pb.jvp(of_moving, tuple(xs), ones)[1]:
            raise NotImplementedError("the result does not vary continuously with its operands")

    def batch() -> None:
        pb.vmap(lambda *ys: tuple(_leaves(of_all(*ys))))(*(np.stack([x, x]) for x in (xs or operands)))

    def of_all(*ys: Any) -> Any:
        full = list(operands)
        for i, y in zip(moving or range(len(operands)), ys, strict=True):
            full[i] = y
        return f(*full)

    modes = {}
    for mode, run in zip(MODES, (reverse, forward, batch), strict=True):
        error = _attempt(run)
        modes[mode] = error is None
        if error is not None:
            reasons.setdefault(str(error) if "vary continuously" in str(error) else _sentence(error), mode)
    dtypes = tuple(name for name, dtype in _DTYPES.items() if moving and _keeps(of_moving, xs, dtype))
    return Probe(modes, dtypes, "; ".join(reasons))


_DTYPES = {"f2": np.float16, "f4": np.float32, "f8": np.float64, "c16": np.complex128}


def _keeps(f: Callable[..., Any], xs: list[Any], dtype: Any) -> bool:
    """Whether `f` takes operands of a dtype and gives results of its precision."""
    if any(x.dtype.kind == "c" for x in xs) and dtype is not np.complex128:
        return False
    try:
        ys = f(*(new_handle(x.astype(dtype)) for x in xs))
    except Exception:
        return False
    size = np.dtype(dtype).itemsize
    found = [_dtype(y) for y in ys]
    return bool(found) and all(k.itemsize in (size, size // 2 if k.kind == "f" and size == 16 else size) for k in found)


# What there is to call


def ops() -> Iterator[tuple[str, Probe, str]]:
    for package in ("ops",):
        for module in sorted(Path(pb.__file__).parent.joinpath(package).glob("*.py")):
            importlib.import_module(f"pullback.{package}.{module.stem}".removesuffix(".__init__"))
    for name, op in sorted(TABLE.items()):
        yield name, _of_op(op), f"{op.doc.splitlines()[0].partition('. ')[0]} *{_compiled(op)}*"


def _compiled(op: Op) -> str:
    """What `pb.jit` makes of an op: the kind of its lowering, or that NumPy is called and why, where that is said."""
    if not isinstance(op.lower, Unsupported):
        return f"Compiled: {type(op.lower).__name__.lower()}."
    return "Compiled: " + ("NumPy is called." if op.lower is NOT_LOWERED else f"NumPy is called, {op.lower.reason}.")


def _of_op(op: Op) -> Probe:
    sample = op.samples[0]
    found = probed(lambda *xs: op(*xs, **sample.params), list(sample.make()))
    if isinstance(op.rules, Unsupported):
        return found._replace(modes={**found.modes, "reverse": False, "forward": False}, reason=op.rules.reason)
    return found


def numpy_functions() -> Iterator[tuple[str, Probe | None, str]]:
    from numpy_calls import CALLS, OPERANDS

    for name in sorted(NUMPY):
        found = None
        for call in CALLS.get(name, ()):
            names = list(inspect.signature(call).parameters)[1:]
            operands = [np.copy(OPERANDS[key])[()] for key in names]
            found = _better(found, probed(lambda *xs, call=call: call(np, *xs), operands))
        yield name, found, _summary(NUMPY[name])


def _better(a: Probe | None, b: Probe) -> Probe:
    """Of two probes of one function the one that shows more."""
    return b if a is None or (sum(b.modes.values()), len(b.dtypes)) > (sum(a.modes.values()), len(a.dtypes)) else a


_VECTOR, _MATRIX = np.array([0.3, 0.45, 0.6]), np.array([[2.0, 0.3, 0.1], [0.3, 1.5, 0.2], [0.1, 0.2, 1.8]])


def scipy_functions() -> Iterator[tuple[str, Probe | None, str]]:
    import scipy.special

    import test_linalg_scipy
    import test_special

    for name in sorted(SCIPY):
        function, found = SCIPY[name], None
        module, _, short = name.partition(".")
        if module == "special" and isinstance(getattr(scipy.special, short, None), np.ufunc):
            found = probed(function, *test_special.call_of(short))
        if module == "stats":
            found = _of_family(short, function)
        if module == "linalg":
            for call, *xs in test_linalg_scipy.CALLS.get(short, ()):
                found = _better(found, probed(lambda *ys, call=call: call(pb.scipy.linalg, *ys), list(xs)))
        if name in _PROGRAMS:
            call, operand = _PROGRAMS[name]
            found = probed(lambda x, call=call, function=function: call(function, x), [operand])
        yield name, found or _guessed(function), _summary(function)


_SIMPLEX = np.array([0.2, 0.3, 0.5])
_FAMILIES: dict[str, list[Any]] = {
    "dirichlet": [_SIMPLEX, _VECTOR],
    "multinomial": [np.array([1.0, 0.0, 2.0]), 3, _SIMPLEX],
    "multivariate_normal": [_VECTOR, _VECTOR + 0.1, _MATRIX],
    "wishart": [_MATRIX, 4.0, _MATRIX + np.eye(3)],
    "bernoulli": [np.array([0.0, 1.0, 1.0]), _VECTOR],
    "binom": [np.array([0.0, 1.0, 2.0]), 3.0, _VECTOR],
    "geom": [np.array([1.0, 2.0, 1.0]), _VECTOR],
    "nbinom": [np.array([0.0, 1.0, 2.0]), 3.0, _VECTOR],
    "poisson": [np.array([0.0, 1.0, 2.0]), _VECTOR],
    "pareto": [_VECTOR + 1, _VECTOR],
    "truncnorm": [_VECTOR, _VECTOR - 1, _VECTOR + 1],
}


_NUMBER = np.float64(0.7)
_KNOTS = np.array([0.0, 0.4, 1.1, 1.9, 2.5])
# SciPy's functions of functions, and those that make one: a call of each, with what it is differentiated in.
_PROGRAMS: dict[str, tuple[Callable[..., Any], Any]] = {
    "integrate.quad": (lambda f, a: f(lambda x, a: a * x * x, 0.0, 1.0, (a,))[0], _NUMBER),
    "integrate.fixed_quad": (lambda f, a: f(lambda x, a: a * x * x, 0.0, 1.0, (a,))[0], _NUMBER),
    "integrate.odeint": (lambda f, a: f(lambda y, t, a: -a * y, np.ones(2), _KNOTS, (a,)), _NUMBER),
    "integrate.solve_ivp": (
        lambda f, a: f(lambda t, y, a: -a * y, (0.0, 1.0), np.ones(2), args=(a,)).y[:, -1],
        _NUMBER,
    ),
    "interpolate.RegularGridInterpolator": (lambda f, y: f((_KNOTS,), y)(np.array([[0.5], [1.3]])), np.cos(_KNOTS)),
    "interpolate.CubicHermiteSpline": (lambda f, y: f(_KNOTS, y, 0.5 * y)(np.array([0.5, 1.3])), np.cos(_KNOTS)),
    "interpolate.BSpline": (lambda f, c: f(np.arange(9.0), c, 3)(np.array([3.5, 4.3])), np.cos(_KNOTS)),
    **{
        f"interpolate.{name}": (lambda f, y: f(_KNOTS, y)(np.array([0.5, 1.3])), np.cos(_KNOTS))
        for name in "Akima1DInterpolator CubicSpline PchipInterpolator interp1d make_interp_spline".split()
    },
    **{
        f"optimize.{name}": (lambda f, a: f(lambda x, a: x * x - a, 0.0, 2.0, (a,)), _NUMBER)
        for name in "bisect brenth brentq ridder toms748".split()
    },
    "optimize.newton": (lambda f, a: f(lambda x, a: x * x - a, 1.0, args=(a,)), _NUMBER),
    "optimize.fixed_point": (lambda f, a: f(lambda x, a: np.cos(a * x), 0.5, (a,)), _NUMBER),
    "optimize.root_scalar": (lambda f, a: f(lambda x, a: x * x - a, args=(a,), bracket=(0.0, 2.0)).root, _NUMBER),
    "optimize.root": (lambda f, a: f(lambda x, a: x * x - a, np.ones(3), (a,)).x, _VECTOR),
    "optimize.minimize": (lambda f, a: f(lambda x, a: ((x - a) ** 2).sum(), np.ones(3), (a,)).x, _VECTOR),
    "optimize.minimize_scalar": (lambda f, a: f(lambda x, a: (x - a) ** 2, args=(a,)).x, _NUMBER),
    "optimize.least_squares": (lambda f, a: f(lambda x, a: x * x - a, np.ones(3), args=(a,)).x, _VECTOR),
    "optimize.curve_fit": (lambda f, y: f(lambda x, a, b: a * x + b, _KNOTS, y)[0], np.cos(_KNOTS)),
    "signal.savgol_filter": (lambda f, x: f(x, 3, 1), np.cos(_KNOTS)),
    "signal.sosfilt": (lambda f, x: f(np.array([[1.0, 0.2, 0.1, 1.0, 0.3, 0.1]]), x), np.cos(_KNOTS)),
    "special.multigammaln": (lambda f, a: f(a, 2), _VECTOR + 1),
    "special.jn": (lambda f, x: f(2, x), _VECTOR),
    "special.polygamma": (lambda f, x: f(2, x), _VECTOR),
    "special.zeta": (lambda f, q: f(2.5, q), _VECTOR),
}


def _of_family(name: str, family: Any) -> Probe | None:
    """The log-density or log-mass of a distribution."""
    density = getattr(family, "logpdf", None) or getattr(family, "logpmf", None)
    if density is None:
        return None
    shapes = getattr(family, "shapes", None) or ()
    operands = _FAMILIES.get(name, [_VECTOR] + [_VECTOR + 1] * len(shapes))
    return probed(
        density, operands, None if len(operands) < 3 or name == "multivariate_normal" else (len(operands) - 1,)
    )


def _guessed(function: Callable[..., Any]) -> Probe | None:
    """Calls with plain operands in place of each parameter that must be given."""
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    count = sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in given)
    for operand in (_VECTOR, _MATRIX):
        if count and _attempt(lambda operand=operand: function(*[new_handle(operand)] * count)) is None:
            return probed(function, [operand * (1 + 0.1 * i) for i in range(count)])
    return None


def torch_names() -> Iterator[tuple[str, Probe | None, str]]:
    import torch

    import op_db

    entries = {op_db.full_name(op): op for op in op_db.operators()}
    spaces = {"": pb, **{f"{s}.": getattr(pb, s) for s in ("linalg", "fft", "special", "masked")}}
    spaces["nn.functional."] = pb.nn.functional
    for prefix, space in spaces.items():
        for name in sorted(n for n in dir(space) if not n.startswith("_")):
            function = getattr(space, name)
            if not isinstance(function, types.FunctionType) or not _is_ours(function):
                continue
            entry, found = entries.get(prefix + name), None
            if entry is not None:
                torch.manual_seed(0)
                for sample in entry.sample_inputs("cpu", torch.float64, requires_grad=True):
                    found = _of_sample(function, sample)
                    if found is not None:
                        break
            yield prefix + name, found, _summary(function)


def _is_ours(function: Any) -> bool:
    return str(function.__module__).startswith("pullback.")


def _of_sample(function: Callable[..., Any], sample: Any) -> Probe | None:
    import torch

    operands = [sample.input, *sample.args]
    if not isinstance(sample.input, torch.Tensor) or not sample.input.numel():
        return None
    if any(isinstance(x, torch.Tensor | torch.dtype | list | tuple) for x in sample.kwargs.values()):
        return None
    arrays = [x.detach().numpy() if isinstance(x, torch.Tensor) else x for x in operands]
    places = [i for i, x in enumerate(arrays) if isinstance(x, np.ndarray)]

    def call(*xs: Any) -> Any:
        full = list(arrays)
        for i, x in zip(places, xs, strict=True):
            full[i] = x if isinstance(x, pb.Tensor) else new_handle(x)
        return function(*full, **sample.kwargs)

    values = [arrays[i] for i in places]
    return probed(call, values) if _attempt(lambda: call(*values)) is None else None


# Writing


def _summary(function: Any) -> str:
    return (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".")


def table(rows: Iterator[tuple[str, Probe | None, str]]) -> tuple[str, str]:
    """The rows as a Markdown table, and how many there are of each kind."""
    lines = [
        "| name | reverse | forward | batch | dtypes | what it does; reason for a gap |",
        "|---|:-:|:-:|:-:|---|---|",
    ]
    counts = dict.fromkeys(MODES, 0)
    for name, probe, summary in rows:
        text = summary.replace("|", "\\|")
        if probe is None:
            lines.append(f"| `{name}` | · | · | · | | {text} |")
            continue
        marks = ["yes" if probe.modes[mode] else "no" for mode in MODES]
        for mode in MODES:
            counts[mode] += probe.modes[mode]
        gap = f" **{probe.reason}**" if probe.reason and "no" in marks else ""
        lines.append(f"| `{name}` | {' | '.join(marks)} | {' '.join(probe.dtypes)} | {text}{gap} |")
    total = len(lines) - 2
    return "\n".join(lines), f"{total} functions: " + ", ".join(f"{n} in {mode}" for mode, n in counts.items()) + "."


def page() -> str:
    """The text of the page."""
    parts = [INTRODUCTION]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for title, rows in (
            ("NumPy's functions", numpy_functions()),
            ("SciPy's functions", scipy_functions()),
            ("PyTorch's names", torch_names()),
            ("The ops that they are made of", ops()),
        ):
            text, counts = table(rows)
            parts.append(f"## {title}\n\n{counts}\n\n{text}\n")
    return "\n".join(parts)


def main() -> int:
    """Write the page, or with `--check` say whether it is current."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true")
    text = page()
    if not parser.parse_args().check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    return int(PAGE.read_text(encoding="utf-8") != text)


if __name__ == "__main__":
    sys.exit(main())
