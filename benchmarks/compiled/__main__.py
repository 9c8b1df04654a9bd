"""Compiled programs against JAX and PyTorch, one thread on one core, and their distance to the hardware.

python -m benchmarks.compiled                       all rows
python -m benchmarks.compiled --only network,gmm    the rows named
python -m benchmarks.compiled --quick               few rounds, and without torch.compile, whose compiler is slow
python -m benchmarks.compiled --compile-time        times to compile only

Every framework starts from the same arrays, and their results are compared before any is timed: rows with wrong numbers
have no figures. Each round times a batch of calls of every framework in turn; a figure is the median of the rounds. The
ratio is pullback's time to the best peer's, so below 1 is faster. The time to compile is that of the first call of a
fresh program without any cache, less a warm call.
"""

from __future__ import annotations

import os

from benchmarks.timing import one_thread, pin_to_one_core

one_thread()
os.environ.update(PULLBACK_CACHE_DIR="off", TORCHINDUCTOR_COMPILE_THREADS="1", TORCHINDUCTOR_FORCE_DISABLE_CACHES="1")
CORE = pin_to_one_core()

import argparse
import json
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import numpy as np
import torch
from benchmarks.compiled import functions, training
from benchmarks.compiled.hardware import Hardware, measured
from benchmarks.compiled.work import Program, Work, compiled_program, numbers, same
from benchmarks.table import show
from benchmarks.timing import calls_within, timed_in_turn

import pullback as pb

WORK: Final = {work.name: work for work in (*training.WORK, *functions.WORK)}
PEERS: Final = {"jax": "JAX jit", "torch": "PyTorch eager", "compiled": "torch.compile"}
WARM: Final = 3  # steps before results are compared


class Row(NamedTuple):
    """Seconds a call by framework, and the bytes and flops that any program needs at least."""

    work: Work
    seconds: dict[str, float]
    bytes: int
    flops: float

    @property
    def best(self) -> str:
        """The fastest peer."""
        return min((name for name in self.seconds if name in PEERS), key=lambda name: self.seconds[name])

    @property
    def ratio(self) -> float:
        return self.seconds["pullback"] / self.seconds[self.best]


def micro(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e6:,.3g}" if seconds < 1e-3 else f"{seconds * 1e6:,.0f}"


def verdict(ratio: float, target: float) -> str:
    return f"≤ {target:g} {'reached' if ratio <= target else 'missed'}"


def checked(work: Work, frameworks: list[str]) -> tuple[dict[str, Program], int]:
    """Warm programs whose results agree, and the bytes of inputs and results. Raises ValueError if some differ."""
    args = work.inputs(*work.sizes)
    programs = {name: getattr(work, name)(*args) for name in frameworks}
    results = {}
    for name, program in programs.items():
        for _ in range(WARM - 1):
            program.step()
        results[name] = numbers((program.step(), program.state()))
    for name in frameworks:
        if not same(results[name], results["jax"], work.rtol):
            raise ValueError(f"{work.title}: results of {name} differ from JAX's")
    moved = sum(array.nbytes for array in (*numbers(args), *results["jax"])) + work.state_bytes(*work.sizes)
    return programs, moved


def timed(work: Work, frameworks: list[str], rounds: int, seconds: float) -> Row:
    programs, moved = checked(work, frameworks)
    steps = {name: program.step for name, program in programs.items()}
    counts = {name: calls_within(step, seconds) for name, step in steps.items()}
    return Row(work, timed_in_turn(steps, counts, rounds), moved, work.flops(*work.sizes))


def seconds_to_compile(work: Work, framework: str, repeats: int) -> float:
    """Median, over fresh programs, of the first call less a warm one."""
    found = []
    for _ in range(repeats):
        jax.clear_caches()
        step = getattr(work, framework)(*work.inputs(*work.sizes)).step
        times = []
        for _ in range(1 + WARM):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        found.append(times[0] - statistics.median(times[1:]))
    return statistics.median(found)


def can_compile() -> bool:
    """Whether `torch.compile` works here: it needs a C++ compiler and Python's headers."""
    try:
        compiled_program(lambda x: x + 1, np.ones(2)).step()
    except Exception as error:  # whatever its compiler raises
        print(f"torch.compile does not work here, PyTorch is eager only: {str(error).splitlines()[0]}")
        return False
    return True


def show_times(rows: list[Row]) -> None:
    table = []
    for row in rows:
        peers = [micro(row.seconds.get(name)) for name in PEERS]
        against_jax = row.seconds["pullback"] / row.seconds["jax"]
        ours = [micro(row.seconds["pullback"]), f"{row.ratio:.2f}", verdict(row.ratio, row.work.target)]
        table.append([row.work.title, *peers, *ours, f"{against_jax:.2f}"])
    columns = (*PEERS.values(), "pullback")
    headings = ("work", *(f">{column} µs" for column in columns), ">to the best", "target", ">to JAX")
    versions = f"pullback {pb.__version__}, JAX {jax.__version__}, PyTorch {torch.__version__}"
    where = "one thread" if CORE is None else f"one thread on core {CORE}"
    show(headings, table, f"Compiled, {where}: {versions}")


def show_distances(rows: list[Row], machine: Hardware) -> None:
    table = []
    for row in rows:
        cells = [row.work.title, f"{row.bytes / 1e6:.3g}", f"{row.flops / 1e6:.3g}"]
        for name in ("pullback", row.best):
            seconds = row.seconds[name]
            bandwidth, peak = machine.bandwidth * seconds, machine.peak[row.work.dtype] * seconds
            cells += [f"{100 * row.bytes / bandwidth:.3g} %", f"{100 * row.flops / peak:.3g} %"]
        table.append([*cells, PEERS[row.best]])
    headings = ("work", ">least MB", ">least Mflop", ">bandwidth", ">peak", ">best peer's", ">peak", "best peer")
    peaks = ", ".join(f"{dtype} products {rate / 1e9:.0f} Gflop/s" for dtype, rate in machine.peak.items())
    show(headings, table, f"Distance to the hardware: memory {machine.bandwidth / 1e9:.0f} GB/s, {peaks}")
    print("Above 100 % of the bandwidth, the arrays are held in cache.")


def show_compile_times(found: dict[str, dict[str, float]]) -> None:
    table = [
        [WORK[name].title, *(f"{1e3 * seconds[k]:.1f}" for k in ("jax", "pullback")), f"{ratio:.2f}", verdict(ratio, 1)]
        for name, seconds in found.items()
        for ratio in (seconds["pullback"] / seconds["jax"],)
    ]
    show(("work", ">JAX ms", ">pullback ms", ">ratio", "target"), table, "Time to compile")


def main() -> int:
    parser = argparse.ArgumentParser(
        "benchmarks.compiled", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="NAME,...", help=f"of {', '.join(WORK)}")
    parser.add_argument("--quick", action="store_true", help="few rounds, without torch.compile")
    parser.add_argument("--compile-time", action="store_true", help="times to compile only")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(WORK)
    if unknown := set(names) - set(WORK):
        parser.error(f"no such work: {', '.join(sorted(unknown))}; there are {', '.join(WORK)}")
    rounds, seconds, repeats = (5, 0.01, 1) if options.quick else (15, 0.05, 3)

    torch.set_num_threads(1)
    jax.config.update("jax_enable_x64", True)
    warnings.filterwarnings("ignore", module="torch")
    frameworks = ["pullback", "jax", "torch"]
    failed, figures = [], dict[str, Any]()

    compile_times: dict[str, dict[str, float]] = {}
    for framework in ("jax", "pullback"):  # what the first compilation of all loads is not counted
        seconds_to_compile(WORK["call"], framework, 1)
    for name in names:
        try:
            compile_times[name] = {k: seconds_to_compile(WORK[name], k, repeats) for k in ("jax", "pullback")}
        except Exception as error:  # one row that fails must not hide the others
            failed.append(f"{name}: {type(error).__name__}: {error}")
    figures["compile"] = compile_times

    if not options.compile_time:
        if not options.quick and can_compile():
            frameworks.append("compiled")
        machine, rows = measured(), []
        for name in names:
            try:
                rows.append(timed(WORK[name], frameworks, rounds, seconds))
            except Exception as error:
                failed.append(f"{name}: {type(error).__name__}: {error}")
        show_times(rows)
        show_distances(rows, machine)
        figures["hardware"] = machine._asdict()
        figures["seconds"] = {
            row.work.name: {**row.seconds, "ratio": row.ratio, "target": row.work.target, "best": row.best}
            for row in rows
        }
    show_compile_times(compile_times)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
