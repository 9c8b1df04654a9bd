"""Work spread over processes, or over a cluster, by joblib.

joblib's default backend, `loky`, has processes on this machine. Others are chosen around the call:

    with joblib.parallel_config(backend="dask"): pb.check(f, grad, x, jobs=8)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pickle import PicklingError
from typing import Any, Final, TypeVar

import numpy as np

from pullback.check.problem import Array, Problem, vector_of

__all__ = ["Spread", "mapped"]

_AT_HOME: Final = frozenset(("jax", "jaxlib", "tensorflow", "keras"))  # what their values are made of stays here
A = TypeVar("A")
B = TypeVar("B")


def mapped(function: Callable[[A], B], items: Iterable[A], jobs: int) -> Iterator[B]:
    """`map(function, items)` by `jobs` processes (-1: one per core), in order; by this one if `jobs` is 1.

    Raises `ModuleNotFoundError` if joblib is needed and not installed.
    """
    if jobs == 1:
        return map(function, items)
    try:
        import joblib
    except ModuleNotFoundError:
        raise ModuleNotFoundError("several jobs need joblib: pip install 'pullback[parallel]'", name="joblib") from None
    streams = getattr(joblib.parallel.get_active_backend()[0], "supports_return_generator", False)
    # arrays are copied to the processes, not mapped into them: a function may write to its arguments
    pool: Any = joblib.Parallel(n_jobs=jobs, max_nbytes=None, return_as="generator" if streams else "list")
    return iter(pool(joblib.delayed(function)(item) for item in items))


class Spread:
    """`cotangent · f` as a function of a vector, whose values at points that are known ahead are found by processes.

    What comes out is the same as with one process: `ahead` only fills a memory that a call looks into. What a function
    of JAX or TensorFlow keeps can't be sent to another process, and neither can a function that can't be pickled: they
    are called here.
    """

    def __init__(self, problem: Problem, cotangent: Array, jobs: int) -> None:
        self.problem, self.cotangent, self.jobs = problem, cotangent, jobs
        self._known: dict[bytes, Array] = {}

    def __call__(self, vector: Array) -> Array:
        found = self._known.pop(vector.tobytes(), None)
        return np.atleast_1d(self.cotangent @ (self.problem(vector) if found is None else found))

    def ahead(self, points: Sequence[Array]) -> None:
        """Have the function called at several points at once."""
        new = [point for point in points if point.tobytes() not in self._known]
        if self.jobs == 1 or len(new) < 2:
            return
        if {type(x).__module__.partition(".")[0] for x in self.problem._leaves} & _AT_HOME:
            self.jobs = 1
            return
        tasks = [(self.problem.f, *self.problem.arguments(point)) for point in new]
        try:
            values = list(mapped(_value, tasks, self.jobs))
        except (PicklingError, TypeError, AttributeError):  # what the function raises is no error of the task
            self.jobs = 1
            return
        for point, value in zip(new, values, strict=True):
            if value is not None:
                self.problem.calls += 1
                self._known[point.tobytes()] = value


def _value(task: tuple[Any, Any, Any]) -> Array | None:
    """What a function gives, as a vector; None for an error, which shows when it is called here."""
    f, args, kwargs = task
    try:
        with np.errstate(all="ignore"):
            return vector_of(f(*args, **kwargs))
    except Exception:
        return None
