"""Every op in the table: forward and backward against its NumPy evaluation alone, on large arrays, on one thread.

    python -m benchmarks.ops [--rounds 5] [--seconds 0.5] [--json out.json] [names ...]

An elementwise op gets a million elements, made by its own sample; others get what `CASES` says: 1000 by 1000 arrays,
1000 by 1000 matrices for products and factorisations, 300 by 300 for spectra and functions of matrices. An op that is
not there gets a batch of its first sample, a million elements in all. Where the evaluation is a view, which touches no
element, a copy of it counts instead. Slow is what takes more than three times as long.

How the figure is made comparable: both programs make their results anew every time, evaluation as well as gradients,
and hand the memory back; the allocator is told to keep it, so that neither pays the kernel for fresh pages (which cost
more than cheap ops do, in one run and not in the next). The two are run alternately, at least `--rounds` times and for
`--seconds` altogether, and each counts with its best CPU time, which other programs on the machine disturb least.
"""

from __future__ import annotations

from benchmarks.timing import one_thread

one_thread()

import argparse
import ctypes
import functools
import gc
import importlib
import json
import pkgutil
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import pullback.ops
from pullback.ops.samples import Sample
from pullback.ops.table import TABLE, Op, Unsupported
from pullback.tape.node import new_handle
from pullback.tensor import autograd

for _module in pkgutil.iter_modules(pullback.ops.__path__):
    importlib.import_module(f"pullback.ops.{_module.name}")

ELEMENTS = 1_000_000
LIMIT = 3.0
LONG = 0.5  # seconds: of what takes longer, an eighth of the elements, and fewer rounds
_RNG = np.random.default_rng(0)


class Case(NamedTuple):
    """Operands of an op and its parameters; those in `moving` are differentiated."""

    args: list[Any]
    params: dict[str, Any]
    moving: list[int]


class Timing(NamedTuple):
    """Seconds for the evaluation alone, and for forward and backward."""

    name: str
    shapes: str
    evaluation: float
    gradient: float

    @property
    def ratio(self) -> float:
        return self.gradient / self.evaluation


# Inputs


def _normal(*shape: int) -> Any:
    return _RNG.standard_normal(shape)


def _positive(*shape: int) -> Any:
    return _RNG.random(shape) + 0.1


def _near_one(*shape: int) -> Any:
    """Factors whose products neither vanish nor overflow."""
    return np.exp(0.01 * _RNG.standard_normal(shape))


def _integers(high: int, *shape: int) -> Any:
    return _RNG.integers(0, high, shape)


def _regular(n: int) -> Any:
    return _RNG.standard_normal((n, n)) / np.sqrt(n) + 2 * np.eye(n)


def _definite(n: int) -> Any:
    a = _RNG.standard_normal((n, n))
    return a @ a.T / n + np.eye(n)


def _complex(*shape: int) -> Any:
    return _normal(*shape) + 1j * _normal(*shape)


N = 1000
M = 300
_ALL = {"axis": (0, 1), "keepdims": False}
_LOSS = {"reduction": "mean"}
CASES: dict[str, Callable[[], tuple[Any, ...]]] = {  # operands, then parameters
    "prod": lambda: (_near_one(N, N), _ALL),
    "cumprod": lambda: (_near_one(N, N), {"axis": 1}),
    **{name: lambda: (_normal(N, N), _ALL) for name in ("sum", "mean", "amax", "amin", "logsumexp", "norm")},
    **{name: lambda: (_normal(N, N), {**_ALL, "correction": 1}) for name in ("var", "std")},
    **{name: lambda: (_normal(N, N), {"axis": 1}) for name in ("cumsum", "logcumsumexp")},
    **{name: lambda: (_normal(N, N), {"axis": 1}) for name in ("softmax", "log_softmax")},
    **{name: lambda: (_complex(N, N), {}) for name in ("real", "imag", "conj")},
    **{name: lambda: (_normal(N, N), {}) for name in ("abs", "angle", "sgn", "identity")},
    **{name: lambda: (_regular(N), {}) for name in ("inv", "det", "slogdet", "lu_factor", "cofactor")},
    **{name: lambda: (_definite(M), {}) for name in ("eigh", "eigvalsh", "svdvals", "matrix_log", "matrix_sqrt")},
    **{name: lambda: (_regular(M), {}) for name in ("eig", "matrix_exp")},
    **{name: lambda: (_normal(N, N), _normal(N, N), _LOSS) for name in ("mse_loss", "l1_loss")},
    **{name: lambda: (_normal(N, N), {"diagonal": 0}) for name in ("tril", "triu")},
    **{name: lambda: (_normal(N, N), _normal(N, N), {}) for name in ("matmul", "mm")},
    "cast": lambda: (_normal(N, N), {"dtype": np.dtype(np.float32)}),
    "reshape": lambda: (_normal(N, N), {"shape": (N * N,)}),
    "transpose": lambda: (_normal(N, N), {"axes": (1, 0)}),
    "broadcast_to": lambda: (_normal(N), {"shape": (N, N)}),
    "flip": lambda: (_normal(N, N), {"axis": (1,)}),
    "roll": lambda: (_normal(N, N), {"shift": (7,), "axis": (1,)}),
    "pad": lambda: (_normal(N, N), {"widths": ((1, 1), (1, 1)), "value": 0.0}),
    "concatenate": lambda: (_normal(N, N), _normal(N, N), {"axis": 0}),
    "stack": lambda: (_normal(N, N), _normal(N, N), {"axis": 0}),
    "split": lambda: (_normal(N, N), {"sizes": (400, 600), "axis": 0}),
    "unbind": lambda: (_normal(10, N * N // 10), {"axis": 0}),
    "slice": lambda: (_normal(N, N), {"index": (slice(1, 900), slice(None))}),
    "embed": lambda: (_normal(899, N), {"index": (slice(1, 900), slice(None)), "shape": (N, N)}),
    "slice_update": lambda: (_normal(N, N), _normal(899, N), {"index": (slice(1, 900), slice(None))}),
    "gather": lambda: (_normal(N, N), _integers(N, N), {}),
    "scatter_add": lambda: (_normal(N, N), _integers(N, N), {"shape": (N, N)}),
    "index_update": lambda: (_normal(N, N), _normal(N, N), _RNG.permutation(N), {}),
    "recurrence": lambda: (_positive(N, N) * 0.8, _normal(N, N), {"axis": 0}),
    "gate": lambda: (_normal(N, N), _normal(N, N), {}),
    "diagonal": lambda: (_normal(N, N), {"offset": 0, "axis1": 0, "axis2": 1}),
    "diag_embed": lambda: (_normal(N), {"shape": (N, N), "offset": 0, "axis1": 0, "axis2": 1}),
    "diagonal_update": lambda: (_normal(N, N), _normal(N), {"offset": 0, "axis1": 0, "axis2": 1}),
    "fft": lambda: (_complex(N, N), {"axes": (1,), "norm": "backward", "inverse": False}),
    "rfft": lambda: (_normal(N, N), {"axis": 1, "norm": "backward"}),
    "irfft": lambda: (_complex(N, 501), {"n": N, "axis": 1, "norm": "backward"}),
    "convolve": lambda: (_normal(100_000), _normal(100), {"full": True}),
    "einsum": lambda: (_normal(N, N), _normal(N, N), {"spec": "ij,jk->ik"}),
    "mv": lambda: (_normal(N, N), _normal(N), {}),
    "dot": lambda: (_normal(N * N), _normal(N * N), {}),
    "project": lambda: (_normal(N, N), _normal(N, N), {}),
    "affine": lambda: (_normal(N, N), _normal(N, N), _normal(N), {}),
    "solve": lambda: (_regular(N), _normal(N, N), {}),
    "solve_triangular": lambda: (np.tril(_definite(N)), _normal(N, N), {"lower": True, "unit": False}),
    "cholesky": lambda: (_definite(N), {}),
    "qr": lambda: (_normal(N, N), {"complete": False}),
    "svd": lambda: (_normal(M, M), {"full": False}),
    "sylvester": lambda: (_definite(M), _definite(M), _normal(M, M), {}),
    "standardize": lambda: (_normal(N, N), {"axis": (1,), "eps": 1e-5}),
    "layer_norm": lambda: (_normal(N, N), _normal(N), _normal(N), {"eps": 1e-5}),
    "embedding": lambda: (_normal(N, N), _integers(N, N), {"padding": None}),
    "smooth_l1_loss": lambda: (_normal(N, N), _normal(N, N), {**_LOSS, "beta": 1.0}),
    "huber_loss": lambda: (_normal(N, N), _normal(N, N), {**_LOSS, "delta": 1.0}),
    "binary_cross_entropy": lambda: (_positive(N, N) * 0.9, _positive(N, N) * 0.9, _LOSS),
    "binary_cross_entropy_with_logits": lambda: (_normal(N, N), _positive(N, N) * 0.9, _LOSS),
    "kl_div": lambda: (_normal(N, N), _positive(N, N), {**_LOSS, "log_target": False}),
    "nll_loss": lambda: (_normal(N, N), _integers(N, N), {**_LOSS, "ignore_index": -100}),
    "cross_entropy": lambda: (_normal(N, N), _integers(N, N), {**_LOSS, "ignore_index": -100}),
}


def _inexact(x: Any) -> bool:
    return isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "fc"


def _sample_of(op: Op) -> Sample | None:
    for sample in op.samples:
        args = sample.make()
        if any(callable(maker) and _inexact(x) for maker, x in zip(sample.args, args, strict=True)):
            return sample
    return None


def _moving(op: Op, args: list[Any], makers: tuple[Any, ...] | None = None) -> list[int]:
    def has_rule(i: int) -> bool:
        return not isinstance(op.rules, tuple) or op.rules[i] is not None

    chosen = [i for i, x in enumerate(args) if _inexact(x) and has_rule(i)]
    return chosen if makers is None else [i for i in chosen if callable(makers[i])]


def elementwise_case(op: Op, sample: Sample, count: int) -> Case:
    """The sample's operands drawn anew until there are `count` elements, all of one shape."""
    rows = [sample.make(seed) for seed in range(64)]
    args: list[Any] = []
    for i, x in enumerate(rows[0]):
        if isinstance(x, np.ndarray):
            args.append(np.resize(np.concatenate([np.ravel(row[i]) for row in rows]), count))
        else:
            args.append(x)
    return Case(args, sample.params, _moving(op, args, sample.args))


def batched_case(op: Op, sample: Sample, count: int) -> Case:
    """The sample stacked along a new axis in front, for the op under `vmap`."""
    made = sample.make()
    many = max(2, count // max(1, max(np.size(x) for x in made)))
    args = [np.stack([x] * many) if callable(maker) else x for maker, x in zip(sample.args, made, strict=True)]
    return Case(args, sample.params, _moving(op, args, sample.args))


# Timing

Run = Callable[[], Any]


def _without_views(run: Run, args: list[Any]) -> Run:
    """`run`, or if its result shares memory with an operand, `run` and a copy of that."""
    y = run()
    parts = y if isinstance(y, tuple | list) else [y]
    if any(np.may_share_memory(part, x) for part in parts for x in args if isinstance(x, np.ndarray)):
        return lambda: [np.array(part) for part in (run() if isinstance(y, tuple | list) else [run()])]
    return run


def programs(call: Callable[..., Any], case: Case) -> tuple[Run, Run]:
    """The evaluation alone, and forward with backward, of `call` on the operands."""
    evaluation = _without_views(lambda: call(*case.args), case.args)
    leaves = {i: new_handle(case.args[i]).requires_grad_() for i in case.moving}
    operands = [leaves.get(i, x) for i, x in enumerate(case.args)]
    y = call(*case.args)
    parts = list(y) if isinstance(y, tuple | list) else [y]
    kept = [k for k, part in enumerate(parts) if part.dtype.kind in "fc"]
    seeds = [new_handle(np.ones_like(parts[k])) for k in kept]

    def gradient() -> Any:
        found = call(*operands)
        results = list(found) if isinstance(found, tuple | list) else [found]
        return autograd.grad([results[k] for k in kept], list(leaves.values()), seeds, allow_unused=True)

    return evaluation, gradient


def _over_batch(op: Op, sample: Sample, case: Case) -> Callable[..., Any]:
    """The op on stacked operands; an operand that is a constant of the sample is not stacked."""
    batched = tuple(callable(maker) for maker in sample.args)
    size = next(len(x) for x, has in zip(case.args, batched, strict=True) if has)
    return lambda *args: op.batch(size, args, batched, **case.params)


def keep_memory() -> None:
    """Tell the C library to keep freed memory for the next array, if it can be told."""
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for parameter, value in ((mmap_max, 0), (trim_threshold, (1 << 31) - 1), (top_pad, 1 << 27)):
        mallopt(parameter, value)


def _seconds(run: Run) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start


def measured(op: Op, rounds: int, seconds: float) -> Timing | None:
    """The timing of an op; None if there is nothing to differentiate in it."""
    sample = _sample_of(op)
    if op.family == "nondifferentiable" or isinstance(op.rules, Unsupported) or sample is None:
        return None
    for count in (ELEMENTS, ELEMENTS // 8):
        if op.name in CASES:
            *args, params = CASES[op.name]()
            case = Case(args, params, _moving(op, args))
            runs = programs(functools.partial(op, **params), case)
        elif op.is_elementwise:
            case = elementwise_case(op, sample, count)
            runs = programs(functools.partial(op, **case.params), case)
        else:
            case = batched_case(op, sample, count)
            runs = programs(_over_batch(op, sample, case), case)
        first = _seconds(runs[1])
        if first < LONG:
            break
    gc.collect()
    times = []
    spent = 0.0
    while len(times) < (rounds if first < LONG else 2) or spent < seconds:
        times.append((_seconds(runs[0]), _seconds(runs[1])))
        spent += sum(times[-1])
    evaluation, gradient = (min(column) for column in zip(*times, strict=True))
    shapes = " ".join("x".join(map(str, np.shape(x))) for x in case.args if np.ndim(x))
    return Timing(op.name, shapes, evaluation, gradient)


def main() -> None:
    """Measure the ops named, or all; print the worst ten and every one above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: list[Timing] = []
    keep_memory()
    warnings.simplefilter("ignore")
    with np.errstate(all="ignore"):
        for name, op in list(TABLE.items()):
            if options.names and name not in options.names:
                continue
            try:
                timing = measured(op, options.rounds, options.seconds)
            except Exception as error:  # one op that fails must not hide the others
                print(f"{name}: {traceback.format_exception_only(error)[-1].strip()}")
                continue
            if timing is not None:
                found.append(timing)
    found.sort(key=lambda timing: -timing.ratio)
    slow = [timing for timing in found if timing.ratio > LIMIT]
    print(f"{'op':<24}{'evaluation':>12}{'with backward':>15}{'ratio':>8}  operands")
    for timing in found[: max(10, len(slow))]:
        print(
            f"{timing.name:<24}{timing.evaluation * 1e3:>9.2f} ms{timing.gradient * 1e3:>12.2f} ms"
            f"{timing.ratio:>8.2f}  {timing.shapes}"
        )
    print(f"{len(found)} ops, {len(slow)} above {LIMIT:g} times their evaluation")
    if options.json is not None:
        options.json.write_text(json.dumps([[*timing, timing.ratio] for timing in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
