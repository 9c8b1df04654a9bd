"""Calling a user's functions by the names of their parameters, and telling what their results belong to."""

from __future__ import annotations

import ast
import copy
import inspect
import sys
import textwrap
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any, Final

import numpy as np

from pullback.check.adapters import adapter_for, is_inexact
from pullback.check.inputs import DATA, Wanted, guesses, keys_of
from pullback.check.problem import vector_of
from pullback.transforms.tree import flatten

__all__ = [
    "CACHES",
    "COTANGENTS",
    "RESULTS",
    "Unusable",
    "belonging",
    "by_keyword",
    "called",
    "expression",
    "floats_of",
    "frameworks_of",
    "gradient_names",
    "has_floats",
    "like",
    "named",
    "ones_like",
    "parameters_of",
    "piece_of",
    "remade",
    "returned_names",
    "shape_of",
    "size_of",
    "trying",
    "wanted_of",
]

CACHES: Final = frozenset("cache caches ctx context saved residuals res memo state intermediates".split())
RESULTS: Final = frozenset(
    "out output outputs result y a yhat y_hat y_pred pred preds predictions probs fx value".split()
)
COTANGENTS: Final = frozenset(
    "g gy ct cotangent cotangents upstream dout dy dz da dh delta grad grad_out grad_output grad_outputs dvalues dldy "
    "dl_dy dl_dout d_out gout output_grad out_grad upstream_grad grad_y y_bar ybar vbar seed".split()
)
_LEARNED: Final = frozenset("w weight weights theta params beta coef coefs coefficients parameters".split())
_FRAMEWORKS: Final = ("torch", "jax", "tensorflow")


class Unusable(Exception):
    """A pair that can't be checked: `str` says why, and what to write."""


# Running a user's code


@contextmanager
def trying() -> Iterator[None]:
    """For code that is tried out: nothing is printed, no warning is shown."""
    with warnings.catch_warnings(), np.errstate(all="ignore"), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        yield


def called(f: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """What a function returns for copies of these arguments."""
    given = copy.deepcopy(dict(values))
    keyword = {p.name: given.pop(p.name) for p in parameters_of(f) if p.kind is p.KEYWORD_ONLY and p.name in given}
    return f(*given.values(), **keyword)


def expression(
    like: Callable[..., Any], names: Sequence[str], text: str, space: Mapping[str, Any]
) -> Callable[..., Any]:
    """The function `lambda names: text`, its global names being those of `space`; named like another one.

    It is made from text so that its parameters have the user's names, which reports show, and so that it belongs to the
    user's module: what it calls then runs on the tape as the user's own code does.
    """
    code = compile(f"lambda {', '.join(names)}: {text}", __file__, "eval")
    made = eval(code, {**space, "__name__": getattr(like, "__module__", None) or "__main__"})
    made.__name__ = made.__qualname__ = named(like)
    made.__wrapped__ = like
    made.__signature__ = inspect.Signature(
        [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
    )
    return made  # type: ignore[no-any-return]


def remade(name: str, values: Mapping[str, Any], claimed: Any, wanted: Wanted) -> Any:
    """What an argument should rather be, by what is claimed of it: floats, not labels; a number, not a vector; a
    vector, not a number. None if it is well as it is. No vector as long as the data: that is a gradient not summed.
    """
    value, shape = values[name], shape_of(claimed)
    dimensions = {len(guess.shape) for guess in wanted.guesses if guess.kind in ("float", "labels")}
    rng = np.random.default_rng([len(name), 1])
    if shape is None:
        return None
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        return rng.standard_normal(value.shape)
    if isinstance(value, np.ndarray) and value.ndim == 1 and shape == () and 0 in dimensions:
        return float(value[0])
    if isinstance(value, float) and len(shape) == 1 and shape != (1,) and 1 in dimensions:
        data = {n: shape_of(v) or () for n, v in values.items() if len(shape_of(v) or ()) > 1}
        lengths = {s[0] for s in ([s for n, s in data.items() if n.lower() in DATA] or data.values())}
        return None if shape[0] in lengths else rng.standard_normal(shape)
    return None


def piece_of(returned: Any, key: Any) -> Any:
    return returned if key is None else returned[key]


# What belongs to what


def gradient_names(name: str) -> list[str]:
    """The names that a gradient with respect to `name` has in people's code."""
    prefixes = ("d", "d_", "grad_", "g_", "g", "grad", "nabla_", "dL_d", "dl_d", "dJ_d", "dLd", "dE_d", "delta_")
    suffixes = ("_grad", "_bar", "_gradient", "_g", "bar", "grad")
    return [*(p + name for p in prefixes), *(name + s for s in suffixes), name]


def belonging(
    returned: Any, claim: Callable[..., Any], values: Mapping[str, Any], optional: Set[str] = frozenset()
) -> dict[str, Any]:
    """For each argument of which something is claimed, in the function's order: which piece of what was returned it is.

    Of the `optional` ones something is claimed only if they are named, or if it is of all.
    """
    floats = [name for name, value in values.items() if has_floats(value)]
    if isinstance(returned, Mapping):
        for name in floats:
            if isinstance(values[name], Mapping) and set(values[name]) & set(returned):
                return {name: None}
        return {
            n: next(k for k in gradient_names(n) if k in returned)
            for n in values
            if set(gradient_names(n)) & set(returned)
        }
    names = returned_names(claim) or []
    if not isinstance(returned, tuple | list) or any(isinstance(values[n], list | tuple) for n in floats[:1]):
        by_name = [n for n in values if len(names) == 1 and names[0] in gradient_names(n)]
        shaped = [n for n in floats if shape_of(values[n]) == shape_of(returned)]
        learned = [n for n in floats if n.lower() in _LEARNED]
        both = [n for n in shaped if n in learned]
        return {
            (by_name or both or (shaped if floats[:1] != learned[:1] else []) or learned or floats or list(values))[
                0
            ]: None
        }
    if len(names) == len(returned):
        found = {n: i for n in values for i, given in enumerate(names) if given in gradient_names(n)}
        if len(found) == len(names):
            return found
    for candidates in (list(values), floats, [n for n in floats if n not in optional]):
        if len(candidates) == len(returned):
            return {n: i for i, n in enumerate(candidates) if returned[i] is not None}
    leading = list(zip(floats, map(shape_of, returned)))
    if all(shape == shape_of(values[n]) or (shape == () and np.ndim(values[n]) == 1) for n, shape in leading):
        return {n: i for i, (n, _) in enumerate(leading)}
    found, left = {}, list(floats)
    for i, piece in enumerate(returned):
        fitting = [n for n in left if shape_of(values[n]) == shape_of(piece)]
        if fitting:
            found[fitting[0]] = i
            left.remove(fitting[0])
    if len(found) < len(returned):
        raise Unusable(
            f"{named(claim)} returns {len(returned)} gradients, and the arguments with floats are {', '.join(floats)}"
        )
    return {n: found[n] for n in values if n in found}


def returned_names(f: Callable[..., Any]) -> list[str] | None:
    """The names in the last `return a, b` of a function; None if it returns anything else."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(f))))
    except (OSError, TypeError, SyntaxError):
        return None
    returns = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value is not None]
    if not returns:
        return None
    last = max(returns, key=lambda node: node.lineno)
    items = last.elts if isinstance(last, ast.Tuple) else [last]
    names = [x.id if isinstance(x, ast.Name) else x.attr if isinstance(x, ast.Attribute) else "" for x in items]
    return names if any(names) else None


def parameters_of(f: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a callable that have names; none if Python does not know them."""
    try:
        found = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def wanted_of(f: Callable[..., Any], parameters: list[inspect.Parameter], also: Sequence[str] = ()) -> list[Wanted]:
    """The guesses for a function's parameters; `also` are names that it uses as well."""
    target = inspect.unwrap(f)
    try:
        annotations = typing.get_type_hints(target, include_extras=True)
    except Exception:  # a name that is only there for the type checker
        annotations = {}
    try:
        source = inspect.getsource(target)
    except (OSError, TypeError):
        source = ""
    keys = keys_of(source, [p.name for p in parameters])
    return guesses(parameters, annotations, inspect.getdoc(target) or "", keys, also)


# Values of any framework


def frameworks_of(f: Callable[..., Any]) -> list[str]:
    """The libraries whose arrays to try, in order: what the function's module has imported, and NumPy."""
    space = getattr(inspect.unwrap(f), "__globals__", None) or vars(sys.modules.get(f.__module__, object()))
    owners = {
        getattr(value, "__name__", "").partition(".")[0] for value in list(space.values()) if inspect.ismodule(value)
    }
    own = [name for name in _FRAMEWORKS if name in owners and name in sys.modules]
    return ["numpy", *own] if "numpy" in owners or not own else [*own, "numpy"]


def like(framework: str, value: Any) -> Any:
    """Arrays and floats as a framework's own."""
    if framework == "numpy" or not isinstance(value, np.ndarray | float | dict):
        return value
    if isinstance(value, dict):
        return {key: like(framework, x) for key, x in value.items()}
    module = sys.modules[framework]
    if framework == "torch":
        return module.tensor(value, dtype=module.float64 if np.asarray(value).dtype.kind == "f" else None)
    return module.numpy.asarray(value) if framework == "jax" else module.convert_to_tensor(value)


def has_floats(value: Any) -> bool:
    return any(is_inexact(leaf) for leaf in flatten(value)[0])


def floats_of(result: Any) -> np.ndarray[Any, Any]:
    """The floats of a result; NaN if it has none."""
    found = vector_of(result)
    return found if found.size else np.full(1, np.nan)


def shape_of(value: Any) -> tuple[int, ...] | None:
    if value is None or isinstance(value, Mapping):
        return None
    return tuple(value.shape) if hasattr(value, "shape") else np.shape(value)


def size_of(value: Any) -> int:
    shape = getattr(value, "shape", None)
    return int(np.prod(tuple(shape))) if shape is not None else 1 if isinstance(value, float | int) else 0


def ones_like(value: Any) -> Any:
    """A cotangent of ones, in the containers of a result."""
    leaves, tree = flatten(value)
    ones = [adapter_for(x).like(x, np.ones_like(adapter_for(x).array(x))) if is_inexact(x) else x for x in leaves]
    return tree.unflatten(ones)


def named(f: Any) -> str:
    return getattr(f, "__name__", type(f).__name__)


def by_keyword(parameters: Sequence[inspect.Parameter]) -> bool:
    return any(p.kind is p.KEYWORD_ONLY for p in parameters)
