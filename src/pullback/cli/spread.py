"""Pairs, checked one after the other or spread over processes, with a bar on the terminal if it takes a while."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pullback.check.collect import Result, collect, examine
from pullback.check.pairs import Pair
from pullback.check.parallel import mapped
from pullback.cli.load import load, quiet

__all__ = ["Task", "examined"]


class Task(NamedTuple):
    """A pair of a file, to be checked with a seed."""

    path: Path
    pair: Pair
    seed: int


def examined(tasks: Sequence[Task], jobs: int = 1) -> list[Result]:
    """The results, in order. Raises `ModuleNotFoundError` for several jobs without joblib."""
    if jobs == 1 or len(tasks) < 2:
        with quiet():
            return list(_watched((examine(task.pair, task.seed) for task in tasks), len(tasks)))
    folder = os.getcwd()
    names = [(folder, str(task.path), task.pair.name, task.seed) for task in tasks]
    return list(_watched(mapped(_by_name, names, jobs), len(tasks)))


def _by_name(name: tuple[str, str, str, int]) -> Result:
    """In another process: the file is run there, too, and the pair found again by its name."""
    folder, path, pair, seed = name
    with quiet():
        return examine(next(p for p in collect(load(Path(folder, path))) if p.name == pair), seed)


def _watched(results: Iterable[Result], count: int) -> Iterator[Result]:
    """The results as they come, counted on stderr if that is a terminal and there is something to count."""
    bar: Any = None
    if count > 3 and sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ModuleNotFoundError:
            pass
        else:
            bar = tqdm(total=count, unit="gradient", leave=False, file=sys.stderr)
    for result in results:
        yield result
        if bar is not None:
            bar.update()
    if bar is not None:
        bar.close()
