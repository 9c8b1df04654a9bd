"""`pb.debug`: looking into functions while they run, compiled or not."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from pullback.ops.effects import say
from pullback.tape.node import Handle
from pullback.tape.state import modes
from pullback.values.graph import Symbol

__all__ = ["print"]


def print(text: str, *args: Any, **kwargs: Any) -> None:
    """Print `text.format(*args, **kwargs)` whenever the program comes by here: in a compiled function at every run,
    where Python's own `print` runs once, while the function is traced.

    Tensors and arrays are printed as arrays; inside a transform, as the values that it works on (a whole batch under
    vmap). The lines of one function come in the order of the program. Raises what `str.format` raises for a text that
    does not fit, at once.

    >>> import pullback as pb
    >>> @pb.jit
    ... def f(x):
    ...     pb.debug.print("x = {}", x)
    ...     return x * x
    >>> f(2.0)
    x = 2.0
    np.float64(4.0)
    """
    values = [_payload(x) for x in (*args, *kwargs.values())]
    names = list(kwargs)

    def write(*numbers: Any) -> None:
        positional = numbers[: len(args)]
        builtins.print(text.format(*positional, **dict(zip(names, numbers[len(args) :], strict=True))))

    symbols = [x for x in values if isinstance(x, Symbol)]
    if not symbols:
        write(*values)
        return
    text.format(*(0 if isinstance(x, Symbol) and not x.shape else x for x in values[: len(args)]), **kwargs)
    places = [i for i, x in enumerate(values) if isinstance(x, Symbol)]

    def write_all(*numbers: Any) -> None:
        full = list(values)
        for i, x in zip(places, numbers, strict=True):
            full[i] = np.array(x)[()]
        write(*full)

    symbols[0].graph.append(say, tuple(symbols), {"write": write_all})


def _payload(x: Any) -> Any:
    """What a value is at the bottom of all levels."""
    while True:
        if isinstance(x, Handle):
            if modes.tracer is not None:
                modes.tracer.lift(x)
            x = x._value
        elif hasattr(x, "level") and not isinstance(x, Symbol):
            x = getattr(x, "value", None) if hasattr(x, "value") else x.primal
        else:
            return x
