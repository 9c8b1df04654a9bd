"""What the timings share: one thread on one core, steps timed in turn, medians.

Threads are counted when NumPy, JAX and PyTorch are imported, so `one_thread` is called before they are.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping
from itertools import repeat
from typing import Any

__all__ = ["Step", "calls_within", "one_thread", "pin_to_one_core", "seconds_per_step", "timed_in_turn"]

Step = Callable[[], Any]


def one_thread() -> None:
    """Tell BLAS, OpenMP and XLA to use one thread, unless the environment says otherwise."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")


def pin_to_one_core() -> int | None:
    """Keep this process, and the threads it starts later, on the last core it may use. Returns it, None if it can't."""
    try:
        core = max(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {core})
    except (AttributeError, OSError):  # not Linux, or not allowed
        return None
    return core


def seconds_per_step(step: Step, count: int) -> float:
    start = time.perf_counter()
    for _ in repeat(None, count):
        step()
    return (time.perf_counter() - start) / count


def calls_within(step: Step, seconds: float) -> int:
    """How many calls of a warm step take about `seconds`; at least one."""
    count = 1
    while True:
        each = seconds_per_step(step, count)
        if each * count > seconds / 10:
            return max(1, round(seconds / each))
        count *= 4


def timed_in_turn(steps: Mapping[str, Step], counts: Mapping[str, int], rounds: int) -> dict[str, float]:
    """Median seconds per call of each step. Each round times all of them, so that a busy machine disturbs them alike;
    the garbage collector is off meanwhile."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in repeat(None, rounds):
            for name, step in steps.items():
                found[name].append(seconds_per_step(step, counts[name]))
    finally:
        if was_enabled:
            gc.enable()
    return {name: statistics.median(times) for name, times in found.items()}
