"""What a user's backward returned, laid beside the arguments it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pullback.check.adapters import adapter_for, is_inexact
from pullback.check.problem import Array, Part, Problem, numbers_of
from pullback.check.report import Finding
from pullback.transforms.tree import flatten, leaves_like

__all__ = ["Claim", "read_claim"]


@dataclass(frozen=True)
class Claim:
    """A claimed gradient.

    vector    the claimed numbers at the places of the problem's vector, 0 elsewhere.
    places    the places that are claimed, by arrays of the right shape (or by None, for zeros).
    given     by a part's leaf: the array as it was returned, of any shape and dtype; None for None.
    findings  what is wrong with it, whatever its numbers are.
    """

    vector: Array
    places: Array
    given: dict[int, np.ndarray[Any, Any] | None]
    findings: list[Finding] = field(default_factory=list)


def read_claim(problem: Problem, claimed: Any) -> Claim:
    """Read what a backward returned: one gradient, of the first argument that has floats; a tuple of them, with or
    without an entry for the arguments that have none, or for the first arguments only; or a dict by the parameters'
    names. The gradient of a container is the same container. None claims zeros, what is left out is not claimed.

    Raises `ValueError` if there are more gradients than arguments, or a container is another; `TypeError` if one is no
    array.
    """
    pieces = _by_argument(problem, claimed)
    given: dict[int, np.ndarray[Any, Any] | None] = {}
    vector = np.zeros_like(problem.x)
    places: list[np.ndarray[Any, Any]] = []
    findings: list[Finding] = []
    for position, parts in _parts(problem).items():
        if position not in pieces:
            continue
        argument = problem.args[position] if isinstance(position, int) else problem.kwargs[position]
        for part, leaf in zip(parts, _leaves(argument, pieces[position], parts), strict=True):
            if leaf is None:
                given[part.leaf] = None
                places.append(np.arange(part.start, part.stop))
                continue
            array = given[part.leaf] = _array(leaf, part)
            if array.shape != part.shape and not array.size == 1 == max(part.stop - part.start, 1):
                findings.append(_misshapen(part, array))
                continue
            if array.dtype.kind == "c" and not part.is_complex:
                if np.any(array.imag):
                    text = f"the gradient of {part.path} is complex, {part.path} is real: take its real part"
                    findings.append(Finding("conj", text, argument=part.path, score=0.9))
                array = array.real
            vector[part.start : part.stop] = numbers_of(array.astype(complex) if part.is_complex else array)
            places.append(np.arange(part.start, part.stop))
    return Claim(vector, np.concatenate(places) if places else np.zeros(0, int), given, findings)


def _parts(problem: Problem) -> dict[int | str, list[Part]]:
    """The parts of each argument that has any, in order."""
    found: dict[int | str, list[Part]] = {}
    for part in problem.parts:
        found.setdefault(part.argument, []).append(part)
    return found


def _by_argument(problem: Problem, claimed: Any) -> dict[int | str, Any]:
    """Which piece of what was returned belongs to which argument."""
    parts = _parts(problem)
    positions = list(parts)
    first = problem.args[positions[0]] if isinstance(positions[0], int) else problem.kwargs[positions[0]]
    if isinstance(claimed, Mapping) and not isinstance(first, Mapping):
        named = {p: key for p in positions if (key := _key(claimed, _name(parts[p]))) is not None}
        if not named:
            names = ", ".join(_name(parts[p]) for p in positions)
            raise ValueError(f"the gradients are for {', '.join(map(str, claimed))}, but the arguments are {names}")
        return {p: claimed[key] for p, key in named.items()}
    if not _is_listing(claimed, first, problem, len(positions)):
        return {positions[0]: claimed}
    given = list(claimed)
    if len(given) == len(problem.args) != len(positions):
        return {p: given[p] for p in positions if isinstance(p, int)}
    while len(given) > len(positions) and given[-1] is None:
        given.pop()
    if len(given) > len(positions):
        names = ", ".join(_name(parts[p]) for p in positions)
        raise ValueError(
            f"there are {len(given)} gradients, but the arguments with floats are {names}: "
            "return one for each of them, with None for an argument that has no gradient"
        )
    return dict(zip(positions, given, strict=False))


def _is_listing(claimed: Any, first: Any, problem: Problem, count: int) -> bool:
    """Whether what was returned lists gradients, rather than being the gradient of the first argument."""
    if not isinstance(claimed, tuple | list):
        return False
    if isinstance(claimed, list) or (isinstance(first, tuple) and count > 1):
        return count > 1 and not isinstance(first, list) and len(claimed) in (count, len(problem.args))
    if isinstance(first, tuple):
        return len(claimed) == 1 != len(first)
    is_row = count == 1 < len(claimed) == problem.x.size and all(np.isscalar(x) for x in claimed)
    return not is_row or len(claimed) == len(problem.args)


def _name(parts: Sequence[Part]) -> str:
    return parts[0].path.partition("[")[0]


def _key(claimed: Mapping[Any, Any], name: str) -> str | None:
    """The key under which a dict has the gradient of an argument."""
    return next((key for key in (name, f"d{name}", f"grad_{name}", f"{name}_grad", f"g{name}") if key in claimed), None)


def _leaves(argument: Any, piece: Any, parts: Sequence[Part]) -> list[Any]:
    """The gradients of the parts of one argument, from what was returned for the argument."""
    found, tree = flatten(argument)
    if tree.rebuild is None:
        return [piece]
    name = _name(parts)
    message = (
        f"the gradient of {name} should be the container that {name} is: {type(argument).__name__} of {len(found)}"
    )
    try:
        leaves = leaves_like(tree, _completed(argument, piece), message)
    except TypeError as error:
        raise ValueError(message) from error
    return [leaf for x, leaf in zip(found, leaves, strict=True) if is_inexact(x)]


def _completed(argument: Any, piece: Any) -> Any:
    """What was returned for nested dicts, with None for the keys that were left out."""
    if not isinstance(argument, Mapping) or not isinstance(piece, Mapping):
        return piece
    extra = [key for key in piece if key not in argument]
    if extra:
        raise ValueError(f"there is a gradient for {extra[0]!r}, which is not among {list(argument)}")
    return type(argument)((key, _completed(value, piece.get(key))) for key, value in argument.items())  # type: ignore[call-arg]


def _array(leaf: Any, part: Part) -> np.ndarray[Any, Any]:
    array = adapter_for(leaf).array(leaf)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"the gradient of {part.path} is {type(leaf).__name__}, and should be an array of {part.shape}")
    return array


def _misshapen(part: Part, array: np.ndarray[Any, Any]) -> Finding:
    return Finding(
        "broadcast",
        f"the gradient of {part.path} has shape {array.shape}, {part.path} has {part.shape}",
        argument=part.path,
        score=0.6,
    )
