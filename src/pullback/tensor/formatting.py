"""How a tensor prints: PyTorch's look, to the letter.

Floats print with one width and one of three notations for the whole tensor: as integers with a point (`8.`) if all are
whole, in scientific notation if their sizes differ by more than 1000 or leave [1e-4, 1e8], with `precision` decimals
otherwise. Zeros, infinities and NaN have no say in it. The parts of complex numbers are laid out separately.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pullback.tape.node import Handle
from pullback.values.dtype import as_dtype, default_dtype
from pullback.values.shape import Spec

__all__ = ["format_tensor", "get_printoptions", "printoptions", "set_printoptions"]


@dataclass(frozen=True)
class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": _Options(),
    "short": _Options(precision=2, edgeitems=2),
    "full": _Options(threshold=float("inf")),
}
_options = _Options()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How tensors print from now on.

    `precision` decimals; of more than `threshold` elements only `edgeitems` at each end of every dimension; lines of
    `linewidth` characters; scientific notation always, never, or (None, to which every call resets it) where the sizes
    call for it. `profile` ("default", "short", "full") sets all of them first.
    """
    global _options
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    start = _options if profile is None else _PROFILES[profile]
    _options = replace(start, **{k: v for k, v in given.items() if v is not None}, sci_mode=sci_mode)  # type: ignore[arg-type]


def get_printoptions() -> dict[str, Any]:
    """The options that `set_printoptions` set."""
    return asdict(_options)


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Options of `set_printoptions` for the block."""
    global _options
    previous = _options
    set_printoptions(**options)
    try:
        yield
    finally:
        _options = previous


class _Layout:
    """How the numbers of an array are written: one notation and one width for all."""

    def __init__(self, array: Any) -> None:
        self.notation = "d" if array.dtype.kind != "f" else ".0f"
        self.width = 1
        if array.dtype.kind != "f":
            self.width = max((len(str(x)) for x in array.ravel().tolist()), default=1)
            return
        counted = array[np.isfinite(array) & (array != 0)].astype(np.float64)
        if not counted.size:
            return
        sizes = np.abs(counted)
        low, high = float(sizes.min()), float(sizes.max())
        scientific = high > 1000.0 * low or high > 1e8 or low < 1e-4
        if scientific if _options.sci_mode is None else _options.sci_mode:
            self.notation = f".{_options.precision}e"
        elif np.any(counted != np.ceil(counted)):
            self.notation = f".{_options.precision}f"
        self.width = max(len(self._write(x)) for x in counted.tolist())

    def _write(self, number: float) -> str:
        if self.notation == "d":
            return str(number)
        text: str = format(number, self.notation)
        return text + "." if self.notation == ".0f" and text[-1].isdigit() else text

    def __call__(self, number: float) -> str:
        return self._write(number).rjust(self.width)


class _ComplexLayout:
    """The same for complex numbers: a layout for each part."""

    def __init__(self, array: Any) -> None:
        self.real, self.imag = _Layout(array.real), _Layout(array.imag)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, number: complex) -> str:
        imag = self.imag(number.imag).lstrip() + "j"
        return self.real(number.real) + (imag if imag[0] in "+-" else "+" + imag)


def _ends(length: int, summarize: bool) -> tuple[range, range] | None:
    """The positions shown of a dimension, if not all are."""
    edge = _options.edgeitems
    return (range(edge), range(length - edge, length)) if summarize and length > 2 * edge else None


def _shown(array: Any) -> Any:
    """The elements that are printed of an array too long to print."""
    for axis, length in enumerate(array.shape):
        ends = _ends(length, True)
        if ends is not None:
            array = array.take([*ends[0], *ends[1]], axis)
    return array


def _write_array(array: Any, indent: int, summarize: bool, write: Callable[[Any], str], width: int) -> str:
    if array.ndim == 0:
        return write(array.item())
    ends = _ends(len(array), summarize)
    if array.ndim > 1:
        rows: list[int | None] = list(range(len(array))) if ends is None else [*ends[0], None, *ends[1]]
        parts = ["..." if i is None else _write_array(array[i], indent + 1, summarize, write, width) for i in rows]
        return "[" + ("," + "\n" * int(array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"
    numbers = array.tolist()
    if ends is None:
        parts = [write(x) for x in numbers]
    elif not _options.edgeitems:
        parts = ["..."]
    else:
        parts = [write(numbers[i]) for i in ends[0]] + [" ..."] + [write(numbers[i]) for i in ends[1]]
    per_line = max(1, (_options.linewidth - indent) // (width + 2))
    lines = [", ".join(parts[i : i + per_line]) for i in range(0, len(parts), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _contents(array: Any, indent: int) -> str:
    if not array.size:
        return "[]"
    array = np.asarray(array)
    summarize = array.size > _options.threshold
    shown = _shown(array) if summarize else array
    layout = _ComplexLayout(shown) if array.dtype.kind == "c" else _Layout(shown)
    return _write_array(array, indent, summarize, layout, layout.width)


def _suffixes(tensor: Any, array: Any) -> list[str]:
    found = []
    default = default_dtype()
    matching = np.dtype(np.complex128 if default == np.float64 else np.complex64)
    if not array.size:
        if array.ndim != 1:
            found.append(f"size={tuple(array.shape)}")
        implied: tuple[Any, ...] = (default,)
    else:
        if not _options.edgeitems:
            found.append(f"size={tuple(array.shape)}")
        implied = (default, matching, np.int64, np.bool_)
    if array.dtype not in implied:
        found.append(f"dtype={as_dtype(array.dtype)!r}")
    if tensor.grad_fn is not None:
        found.append(f"grad_fn=<{tensor.grad_fn.name()}>")
    elif tensor.requires_grad:
        found.append("requires_grad=True")
    return found


_KINDS = {"Batch": "BatchedTensor", "Dual": "DualTensor", "Symbol": "TracedTensor"}


def _format_payload(value: Any) -> str:
    """A tensor inside a transform: what kind it is, its shape and dtype, and the values it stands on, if any."""
    kind = "GradTrackingTensor" if isinstance(value, Handle) else _KINDS.get(type(value).__name__, type(value).__name__)
    names = [name for name in ("value", "primal", "tangent") if hasattr(type(value), name)]
    held = {name: getattr(value, name) for name in names} if not isinstance(value, Handle) else {"value": value}
    lines = [f"{kind}({Spec(tuple(value.shape), value.dtype)}"]
    for name, part in held.items():
        text = repr(part) if isinstance(part, Handle) else f"tensor({_contents(part, 7)})"
        lines.append(f"  {name}={textwrap.indent(text, '  ').lstrip()}")
    return ",\n".join(lines) + ")"


def format_tensor(tensor: Any) -> str:
    """The `repr` of a tensor."""
    array = tensor._value
    if not isinstance(array, np.ndarray | np.generic):
        return _format_payload(array)
    is_parameter = getattr(type(tensor), "_is_parameter", False)
    name = "tensor" if type(tensor) is Handle.maker or is_parameter else type(tensor).__name__
    indent = len(name) + 1
    text = f"{name}({_contents(array, indent)}"
    length = len(text) - text.rfind("\n") + 1
    for suffix in _suffixes(tensor, array):
        if length + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            length = indent + len(suffix)
        else:
            text += ", " + suffix
            length += len(suffix) + 2
    return ("Parameter containing:\n" if is_parameter else "") + text + ")"
