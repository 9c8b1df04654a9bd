"""Train for a long time and watch the memory: the tape must leave nothing behind.

A linear regression is fitted with SGD through the tensor API and autograd, with the garbage collector off, so that what
is kept alive by reference cycles would show. Resident memory and the number of objects that the collector tracks are
printed at intervals; the exit code is 1 if either has grown after the first interval.

    python benchmarks/soak.py --steps 1000000
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time

import numpy as np

import pullback as pb


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the highest so far, which shows growth as well
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def train(steps: int, lines: int, allowed: float) -> bool:
    """Train for `steps` steps and print `lines` lines. Returns whether memory grew by less than `allowed` MB."""
    rng = np.random.default_rng(0)
    x = pb.tensor(rng.standard_normal((64, 3)).astype(np.float32))
    y = x @ pb.tensor([1.0, -2.0, 0.5]) + 3.0 + pb.tensor(rng.standard_normal(64).astype(np.float32))
    w, b = pb.zeros(3, requires_grad=True), pb.tensor(0.0, requires_grad=True)
    optimizer = pb.optim.SGD([w, b], lr=0.01, momentum=0.9)
    loss = pb.tensor(0.0)
    print(f"{'step':>10} {'resident MB':>12} {'objects':>9} {'loss':>10} {'µs/step':>8}")
    first: tuple[int, int] | None = None
    interval = max(1, steps // lines)
    began = time.perf_counter()
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = ((x @ w + b - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        if step % interval == 0:
            elapsed = (time.perf_counter() - began) / interval * 1e6
            resident, objects = resident_bytes(), len(gc.get_objects())
            print(f"{step:>10,} {resident / 1e6:>12.2f} {objects:>9,} {loss.item():>10.2e} {elapsed:>8.1f}", flush=True)
            if first is None:
                first = resident, objects
            began = time.perf_counter()
    assert first is not None
    grown, more = (resident_bytes() - first[0]) / 1e6, len(gc.get_objects()) - first[1]
    cycles = gc.collect()
    print(f"after the first line: {grown:+.2f} MB, {more:+d} objects; in reference cycles: {cycles}")
    return grown < allowed and more < 100 and cycles < 100


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--lines", type=int, default=10, help="lines of figures to print")
    parser.add_argument("--allowed", type=float, default=3.0, help="growth to allow, in MB")
    options = parser.parse_args()
    gc.collect()
    gc.disable()
    flat = train(options.steps, options.lines, options.allowed)
    print("memory is flat" if flat else "memory grows")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
