"""`gradient_of`: a function's gradient, said to be that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

__all__ = ["FORMS", "Form", "Mark", "gradient_of", "mark_of"]

F = TypeVar("F", bound=Callable[..., Any])
Form = Literal["gradient", "vjp", "jvp", "jacobian", "hessian"]
FORMS: Final[tuple[Form, ...]] = ("gradient", "vjp", "jvp", "jacobian", "hessian")
_NAME: Final = "__gradient_of__"


@dataclass(frozen=True)
class Mark:
    """What `gradient_of` was told: the function, arguments to check at, and what is claimed of it (None: see)."""

    f: Callable[..., Any]
    inputs: Any = None
    form: Form | None = None


def gradient_of(f: Callable[..., Any], *, inputs: Any = None, form: Form | None = None) -> Callable[[F], F]:
    """Mark a function as the gradient of `f`, for `pullback check` and `pytest --gradients`; it is returned unchanged.

    `inputs` are the arguments to check at: a tuple of them, a dict by the names of `f`'s parameters, or a function that
    returns either (given a `numpy.random.Generator` if it takes an argument). Without it, arguments are made up.
    `form` is what is claimed: "gradient" (called as `f` is), "vjp" (with a cotangent as well), "jvp" (with tangents),
    "jacobian" or "hessian"; without it the names and the number of the parameters tell.

    Raises `TypeError` if `f` can't be called, `ValueError` for another form.

    >>> def energy(x):
    ...     return (x**2).sum()
    >>> @gradient_of(energy, inputs=lambda rng: (rng.standard_normal(3),))
    ... def force(x):
    ...     return 2 * x
    """
    if not callable(f):
        raise TypeError(f"gradient_of takes the function whose gradient this is, not {type(f).__name__}")
    if form is not None and form not in FORMS:
        raise ValueError(f"form is one of {', '.join(FORMS)}, not {form!r}")

    def marked(gradient: F) -> F:
        setattr(gradient, _NAME, Mark(f, inputs, form))
        return gradient

    return marked


def mark_of(value: Any) -> Mark | None:
    """The mark on a function, if it has one."""
    found = getattr(value, "__dict__", {}).get(_NAME)
    return found if isinstance(found, Mark) else None
