"""Arguments for a function of which only the source is known.

What each parameter may be is written down as a short list, the most likely first: from its annotation (`float`,
`np.ndarray`, `Float[Array, "n d"]`, `Annotated[np.ndarray, (5, 3)]`), else from a shape in the docstring
(`x : array of shape (n, d)`), else from its name (`W1`, `labels`, `sigma`). Combinations are tried in the order of
their likelihood until the function runs and gives finite floats: with normal numbers, then with positive ones, with
numbers between 0 and 1, with positive definite matrices. Sizes are small and all different (n = 5 rows, d = 3 features,
k = 4, 2, ...), so that arrays that do not belong together do not fit by accident. The numbers depend on the seed and
the parameter's name only.
"""

from __future__ import annotations

import ast
import heapq
import inspect
import re
import textwrap
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

__all__ = ["DATA", "DOMAINS", "Guess", "Outcome", "Wanted", "guesses", "keys_of", "search"]

Domain = Literal["normal", "positive", "unit", "definite"]
Kind = Literal["float", "int", "labels", "bool", "list", "tuple", "constant", "dict"]
Outcome = Literal["good", "domain", "bad"]
Shape = tuple[int, ...]

DOMAINS: Final[tuple[Domain, ...]] = ("normal", "positive", "unit", "definite")
_TRIALS: Final = 6000
_SECONDS: Final = 4.0
_N, _D, _K = 5, 3, 4
_CHAIN: Final = (_D, _K, 2, 6, 7)  # the widths of layers 0, 1, 2, ...
_SIZES: Final = (_N, _D, _K, 2, 6, 7, 8)  # of names in shapes, in the order they appear
_IMAGES, _FILTERS = (2, _D, 6, 6), (_K, _D, 3, 3)
_GENERAL: Final[tuple[Shape, ...]] = (
    (_D,),
    (),
    (_N, _D),
    (_D, _D),
    (_D, _K),
    (_N,),
    (_K,),
    (_K, _D),
    (_N, _K),
    (2, _N, _D),
    _IMAGES,
    (2,),
)

_LABELS: Final = frozenset("y t labels label target targets y_true ytrue y_train classes truth".split())
_CERTAIN_LABELS: Final = _LABELS - {"y", "t"}
_PREDICTIONS: Final = frozenset(
    "yhat y_hat y_pred ypred pred preds prediction predictions p q prob probs probability probabilities".split()
)
_SCORES: Final = frozenset("logits scores score s z".split())
_WEIGHTS: Final = frozenset("w weight weights theta beta coef coefs coefficients params wts".split())
_BIASES: Final = frozenset("b bias biases intercept".split())
DATA: Final = frozenset("x a h data inputs input inp features design batch x_train xs".split())
_POSITIVE: Final = frozenset("sigma std var variance tau temperature rate scale precision nu df radius".split())
_SCALARS: Final = frozenset(
    "lam lamb lambda_ lmbda lmbd reg reg_lambda alpha l1 l2 lr eps epsilon c gamma decay weight_decay slope".split()
)
_NORMS: Final = frozenset(("gamma", "beta"))  # of normalised features, where both are there
_INTEGERS: Final = re.compile(
    r"(n|k|m|axis|dim|stride|pad|padding|order|degree|steps?|seed|iterations?|n_\w+|num_\w+|\w+_size)$"
)


@dataclass(frozen=True)
class Guess:
    """One thing that a parameter may be."""

    kind: Kind
    shape: Shape = ()
    domain: Domain | None = None  # None: whichever is tried
    value: Any = None
    high: int = 2  # labels are below this
    parts: tuple[tuple[str, Guess], ...] = ()  # of a dict

    def make(self, name: str, seed: int, domain: Domain) -> Any:
        """The value, the same for the same name and seed."""
        if self.kind in ("constant", "bool"):
            return self.value
        if self.kind == "dict":
            return {key: guess.make(key, seed, domain) for key, guess in self.parts}
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        if self.kind in ("int", "labels"):
            found = rng.integers(0, self.high, self.shape)
            return int(found) if self.shape == () else found
        drawn = self.domain or domain
        numbers: Any
        if drawn in ("positive", "unit"):
            numbers = rng.uniform(*((0.5, 2.0) if drawn == "positive" else (0.1, 0.9)), self.shape)
        else:
            numbers = _definite(rng, self.shape) if drawn == "definite" else rng.standard_normal(self.shape)
        if self.kind == "list":
            return numbers.tolist()
        if self.kind == "tuple":
            return tuple(numbers.tolist())
        return float(numbers) if self.shape == () else numbers


@dataclass(frozen=True)
class Wanted:
    """A parameter a value is wanted for, and its list of guesses."""

    name: str
    guesses: tuple[Guess, ...]


def _definite(rng: np.random.Generator, shape: Shape) -> Any:
    """Positive definite matrices, if they are square."""
    found = rng.standard_normal(shape)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        return found
    return found @ found.swapaxes(-1, -2) + np.eye(shape[-1])


# What a parameter may be


def guesses(
    parameters: Sequence[inspect.Parameter],
    annotations: dict[str, Any],
    doc: str,
    keys: dict[str, list[str]],
    also: Sequence[str] = (),
) -> list[Wanted]:
    """The guesses for each of the parameters.

    `annotations` are the resolved ones, where they can be resolved; `keys` the strings by which a parameter is
    subscripted, for those that are dicts; `also` are names that the function uses beside them.
    """
    names = [p.name for p in parameters]
    everyone = {name.lower() for name in (*names, *also)} | {key.lower() for found in keys.values() for key in found}
    sizes: dict[str, int] = {}
    found = []
    for parameter in parameters:
        name = parameter.name
        annotation = annotations.get(name, parameter.annotation)
        listed = _by_annotation(annotation, sizes)
        if parameter.default is not inspect.Parameter.empty:
            listed = [Guess("constant", value=parameter.default)]
        if not listed and keys.get(name):
            parts = tuple((key, _by_name(key, everyone)[0]) for key in keys[name])
            turned = tuple((key, _turned(guess)) for key, guess in parts)
            listed = [Guess("dict", parts=parts), Guess("dict", parts=turned)]
        if not listed and (shape := _shape_in(doc, name)) is not None:
            kind: Kind = "labels" if name.lower() in _CERTAIN_LABELS else "float"
            listed = [Guess(kind, _sized(shape, sizes))]
        elif not listed or listed == [Guess("float", (-1,))]:
            arrays_only = bool(listed)
            listed = [g for g in _by_name(name, everyone) if not arrays_only or g.shape]
        found.append(Wanted(name, tuple(dict.fromkeys(listed))))
    return found


def _by_annotation(annotation: Any, sizes: dict[str, int]) -> list[Guess]:
    """What an annotation says; `[Guess("float", (-1,))]` for an array of any shape, nothing if it says nothing."""
    if annotation is inspect.Parameter.empty or annotation is Any:
        return []
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "") or str(annotation)
    whole = annotation if isinstance(annotation, str) else str(annotation)
    plain = {
        "float": [Guess("float")],
        "int": [Guess("int", high=4), Guess("constant", value=3), Guess("constant", value=1)],
        "bool": [Guess("bool", value=True), Guess("bool", value=False)],
    }
    if text in plain:
        return plain[text]
    for item in getattr(annotation, "__metadata__", ()):
        if (shape := _shape_like(item)) is not None:
            return [Guess("float", _sized(shape, sizes))]
    for attribute in ("dim_str", "shape"):  # jaxtyping; nptyping
        if isinstance(dims := getattr(annotation, attribute, None), str):
            kind: Kind = "labels" if "int" in whole.lower() else "float"
            return [Guess(kind, _sized(_shape_like(dims) or (), sizes))]
    lowered = whole.lower()
    if re.search(r"\b(list|sequence)\[float\]", lowered):
        return [Guess("list", (_D,))]
    if re.search(r"\btuple\[float", lowered):
        return [Guess("tuple", (lowered.count("float"),))]
    if re.search(r"array|tensor", lowered):
        quoted = None if isinstance(annotation, type) else re.search(r"""["']([\w .,*()]*)["']""", whole)
        shape = _shape_like(quoted[1]) if quoted else None
        numbered = re.search(r"\((\d[\d, ]*)\)", whole)
        shape = _shape_like(numbered[1]) if shape is None and numbered else shape
        kind = "labels" if re.search(r"\bu?int\d*\b", lowered) else "float"
        if shape is not None:
            return [Guess(kind, _sized(shape, sizes))]
        if kind == "labels":
            return [Guess("labels", s) for s in ((_N,), (_D,), (_N, _D))]
        return [Guess("float", (-1,))]
    return []


def _shape_like(item: Any) -> tuple[str | int, ...] | None:
    """A shape written as a tuple `(5, "d")` or as text: `"n d"`, `"n, d"`, `"(n, 3)"`."""
    if isinstance(item, tuple) and all(isinstance(x, int | str) for x in item):
        return item
    if not isinstance(item, str):
        return None
    words = re.findall(r"[\w.]+", item)
    return tuple(int(w) if w.isdigit() else w for w in words if w != "...")


def _sized(shape: Sequence[str | int], sizes: dict[str, int]) -> Shape:
    """The shape with a size for each name, the same one everywhere."""
    for name in shape:
        if isinstance(name, str) and name not in sizes:
            sizes[name] = _SIZES[len(sizes) % len(_SIZES)]
    return tuple(sizes[x] if isinstance(x, str) else x for x in shape)


def _shape_in(doc: str, name: str) -> tuple[str | int, ...] | None:
    """The shape that a docstring gives for a parameter: `x : array of shape (n, d)`, `x: (n, d) weights`."""
    for line in doc.splitlines():
        found = re.match(rf"[\s\-*`]*{re.escape(name)}[`]*\s*(?:[:=]|--?|–|\bof\b|\bis\b|(?=\())(.*)", line)
        if found and (shape := re.search(r"\(((?:\s*\w+\s*,?)+)\)", found[1])):
            words = [w for w in re.split(r"[,\s]+", shape[1]) if w]
            if all(re.fullmatch(r"\d+|[A-Za-z]\w{0,2}|[a-z]+_[a-z]+", w) for w in words) and "," in shape[1]:
                return tuple(int(w) if w.isdigit() else w for w in words)
    return None


def _by_name(name: str, everyone: set[str]) -> list[Guess]:
    """What a name suggests, then everything else in order."""
    low, digits = re.fullmatch(r"(.*?)_?(\d*)", name.lower()).groups()  # type: ignore[union-attr]
    learns = bool(everyone & (_WEIGHTS | _PREDICTIONS | _SCORES)) or any(re.fullmatch(r"w_?\d+", x) for x in everyone)
    floats: list[Shape] = []
    first: list[Guess] = []
    if low in _CERTAIN_LABELS or (low in _LABELS and learns):
        first += [Guess("labels", s) for s in ((_N,), (_N, 2), (_N, _K), (_N, 1), (), (1, _N), (2, _N))]
        floats = [(_N,), (_N, _K), (_N, 2), (_N, 1)]
    elif low in _PREDICTIONS and name != "P":
        first += [Guess("float", s, "unit") for s in ((_N,), (_N, _K), ())]
    elif low in _SCORES:
        floats = [(_N,), (_N, _K), ()] if everyone & _LABELS else [(_D,), (_N, _D), ()]
        first += [Guess("float", (_N, _K)), Guess("float", (_N,))] if low in ("logits", "scores") else []
    elif low in _NORMS <= everyone:
        floats = [(_D,), (1, _D), ()]
    elif low in _WEIGHTS and digits and low == "w":
        i = int(digits)
        into, out = _CHAIN[(i - 1) % 5], _CHAIN[i % 5]
        floats = [(into, out), (out, into), (into, 1), (into,), (1, into)]
    elif low in ("kernel", "filters", "filter"):
        floats = [_FILTERS, (_D,)]
    elif low in _WEIGHTS:
        matrix: list[Shape] = [(_D, _K), (_K, _D), (_D, 1)]
        floats = [*matrix, (_D,), _FILTERS] if name == "W" else [(_D,), *matrix, (), _FILTERS]
    elif low in _BIASES and (learns or digits):
        width = _CHAIN[int(digits) % 5] if digits else _K
        floats = [(width,), (1, width), (width, 1), (1,), ()] if digits or "W" in name or "w" not in everyone else []
        floats = floats or [(), (_K,), (1, _K), (1,)]
    elif low in DATA and (learns or name.isupper()):
        floats = [(_N, _D), (_D, _N), (_D,), _IMAGES, (_N,), (_N, 2, _D)]
    elif low in _POSITIVE:
        first += [Guess("float", s, "positive") for s in ((), (_D,), (_N,))]
    elif low in _SCALARS:
        first += [Guess("float", (), "unit"), Guess("float", (_D,))]
    elif _INTEGERS.fullmatch(name):
        values = (
            (1, 0, -1) if name in ("axis", "dim") else (1, 0, 2) if name in ("stride", "pad", "padding") else (3, 2, 1)
        )
        first += [Guess("constant", value=v) for v in values]
    elif name.isupper() and len(name) == 1:
        floats = [(_D, _D), (_N, _D), (_D, _K)]
    elif low in ("train", "training", "is_training"):
        first += [Guess("bool", value=True)]
    general = [Guess("float", shape) for shape in (*floats, *_GENERAL)]
    return [*first, *general, Guess("constant", value=2), Guess("list", (_D,)), Guess("tuple", (2,))]


def _turned(guess: Guess) -> Guess:
    return Guess(guess.kind, guess.shape[::-1] if len(guess.shape) == 2 else guess.shape)


def keys_of(source: str, names: Sequence[str]) -> dict[str, list[str]]:
    """The constant strings by which parameters are subscripted in a function's source: `params["W1"]`."""
    found: dict[str, list[str]] = {name: [] for name in names}
    try:
        tree = ast.parse(textwrap.dedent(source))
    except SyntaxError:
        return found
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id in found
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
            and node.slice.value not in found[node.value.id]
        ):
            found[node.value.id].append(node.slice.value)
    return found


# Trying


def search(wanted: Sequence[Wanted], attempt: Callable[[list[Any]], Outcome], seed: int) -> list[Any] | None:
    """The first combination of guesses that `attempt` finds good; None if there is none, or none is found in time.

    `attempt` answers "domain" where the shapes fit and the numbers do not: the next domain is tried.
    """
    limit = time.monotonic() + _SECONDS
    for choice in _by_rank([len(w.guesses) for w in wanted]):
        for domain in DOMAINS:
            values = [w.guesses[i].make(w.name, seed, domain) for w, i in zip(wanted, choice, strict=True)]
            outcome = attempt(values)
            if outcome == "good":
                return values
            if outcome == "bad":
                break
        if time.monotonic() > limit:
            break
    return None


def _by_rank(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Tuples of indices below `counts`, those with the smallest sum first; at most `_TRIALS`."""
    start = (0,) * len(counts)
    heap, seen = [(0, start)], {start}
    for _ in range(_TRIALS):
        if not heap:
            return
        total, choice = heapq.heappop(heap)
        yield choice
        for i, count in enumerate(counts):
            if choice[i] + 1 < count:
                following = (*choice[:i], choice[i] + 1, *choice[i + 1 :])
                if following not in seen:
                    seen.add(following)
                    heapq.heappush(heap, (total + 1, following))
