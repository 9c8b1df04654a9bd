"""Checkpoints: functions that are run again in the backward pass instead of having their intermediate values saved."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from pullback.tape.node import Handle, edge_of, next_number, snapshot, version_of
from pullback.tape.state import modes
from pullback.tensor.random import get_rng_state, set_rng_state
from pullback.transforms.calls import attach_results, stripped
from pullback.transforms.program import call
from pullback.transforms.rerun import RerunNode, captured, exposed, tracked_level
from pullback.transforms.tree import flatten

__all__ = ["checkpoint", "checkpoint_sequential", "remember"]


def checkpoint(f: Callable[..., Any], *, preserve_rng_state: bool = True) -> Callable[..., Any]:
    """`f`, holding nothing but its arguments until the backward pass, which runs it again.

    Memory for time: what `f` computes on the way is not kept between forward and backward. Results, derivatives of
    every mode and order, and random numbers (those of pullback's and NumPy's default generators, unless
    `preserve_rng_state` is False) are the same. `f` takes and returns nested containers; what it closes over may be
    tracked too. It must do the same when run again, so it should not write to what it is given.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.grad(pb.checkpoint(lambda x: np.sin(np.sin(x))))(0.0)
    np.float64(1.0)
    """

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        return _checkpointed(f, args, kwargs, preserve_rng_state)

    return run


def remember(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)` as `checkpoint` does it: `torch.utils.checkpoint.checkpoint`.

    Both values of `use_reentrant` mean the same: gradients reach all that the function uses.
    """
    return _checkpointed(function, args, kwargs, preserve_rng_state)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool = False, preserve_rng_state: bool = True
) -> Any:
    """The functions (a list, or a Sequential module) one after the other, in `segments` checkpoints.

    As in PyTorch the last segment is run without one: its backward comes first, and would find all of it just dropped.
    """
    parts = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(parts) // segments

    def chain(start: int, stop: int) -> Callable[[Any], Any]:
        return lambda x: functools.reduce(lambda value, part: part(value), parts[start:stop], x)

    last = size * (segments - 1)
    for start in range(0, last, size or 1):
        input = _checkpointed(chain(start, start + size), (input,), {}, preserve_rng_state)
    return chain(last, len(parts))(input)


@contextmanager
def _random_state(state: Any) -> Iterator[None]:
    """The state of the default generators for the block; None leaves them alone."""
    if state is None:
        yield
        return
    previous = _random_now()
    set_rng_state(state[0])
    np.random.set_state(state[1])
    try:
        yield
    finally:
        set_rng_state(previous[0])
        np.random.set_state(previous[1])


def _random_now() -> tuple[Any, Any]:
    return get_rng_state(), np.random.get_state()


def _run(f: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """`f` as the transform around it runs functions: so that NumPy code in it reaches pullback."""
    return call(f, args, kwargs) if modes.numpy else f(*args, **kwargs)


def _checkpointed(f: Callable[..., Any], args: Any, kwargs: Any, preserve_rng_state: bool) -> Any:
    if not modes.grad:
        return f(*args, **kwargs)
    random = _random_now() if preserve_rng_state else None
    since = next_number()
    leaves, tree = flatten((args, kwargs))
    saved = [(snapshot(x), version_of(x) if isinstance(x, Handle) else 0) for x in leaves]
    outs, out_tree = flatten(_run(f, args, kwargs))
    level = tracked_level(outs)
    roots = _places(outs, level)
    edges = captured([edge_of(y) for y in roots], since)
    if not edges:
        return out_tree.unflatten(outs)

    def again(node: RerunNode, cotangents: list[Any], create_graph: bool) -> tuple[list[Any], list[Any]]:
        for i, (x, version) in enumerate(saved):
            if isinstance(x, Handle) and version_of(x) != version:
                node._modified(f"argument {i}", x, version, version_of(x))
        inner, inner_kwargs = tree.unflatten([x for x, _ in saved])
        with _random_state(random):
            found, _ = flatten(_run(f, inner, inner_kwargs))
        return _places(found, level), cotangents

    node = RerunNode("Checkpoint", edges, [stripped(y, level) for y in roots], level, again)
    handles = iter(attach_results(node, roots, [stripped(x, level) for x in leaves]))
    return out_tree.unflatten([exposed(y, level, lambda _: next(handles)) for y in outs])


def _places(outs: Sequence[Any], level: int) -> list[Any]:
    """The handles within results that are tracked on the tape of `level`."""
    found: list[Any] = []

    def note(y: Any) -> Any:
        found.append(y)
        return y

    for y in outs:
        exposed(y, level, note)
    return found
