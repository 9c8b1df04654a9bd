"""Classes with a `forward` (or `loss`, or `__call__`) and a `backward`, as a function and its vector-Jacobian product.

The parameters are the arrays that an instance holds, itself, in lists and dicts, and in the objects it is made of; the
gradient of `W` is looked for in what `backward` returns, in an attribute such as `dW`, and in a dict such as `grads`.
An instance is used as its author would use it, the same one from call to call, so that a buffer that is not reset
shows; everything else that it holds, and what is random, is put back to what it was before each call.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, Final

import numpy as np

from pullback.check.calling import (
    COTANGENTS,
    RESULTS,
    Unusable,
    expression,
    gradient_names,
    parameters_of,
    returned_names,
    trying,
    wanted_of,
)
from pullback.check.inputs import Guess, Outcome, Wanted, search
from pullback.check.pairs import Pair, Prepared

__all__ = ["FORWARDS", "ClassPair"]

FORWARDS: Final = ("forward", "loss", "__call__", "compute_loss", "cost")
_LOSSES: Final = ("loss", "compute_loss", "cost", "calculate_loss", "loss_fn")
_STORES: Final = ("grads", "gradients", "grad", "gradient", "dparams", "grad_params", "param_grads", "_grads")
_ZERO: Final = (
    "zero_grad",
    "zero_grads",
    "zero_gradients",
    "reset_grad",
    "reset_grads",
    "clear_grads",
    "reset_gradients",
)
_SIZES: Final = (3, 4, 2, 6, 7)
_SIZE_NAME: Final = re.compile(
    r"(.*_)?(in|out|input|output|hidden|fan_in|fan_out)?_?(size|dim|dims|features|units|channels|width|nodes|neurons|in|out|n|d|h|k|m)\d*$|(n|num|d|dim)_\w+"
)
_SIZES_NAME: Final = re.compile(r"(\w*_)?(sizes|layers|dims|layer_sizes|layer_dims|shape|architecture|widths)$")
_DEEP: Final = 4
_LIBRARIES: Final = ("numpy", "torch", "jax", "tensorflow")
_Getter = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class _Place:
    """Where an instance holds an array: an attribute of the object `home`, or an item of its attribute `store`.

    `owner` is what it is in, the object itself or a container; `name` tells it apart from all the others.
    """

    owner: Any
    key: Any
    name: str
    home: Any
    store: str = ""

    def get(self) -> Any:
        return vars(self.home)[self.key] if self.owner is self.home else self.owner[self.key]

    def set(self, value: Any) -> None:
        (vars(self.home) if self.owner is self.home else self.owner)[self.key] = value


@dataclass(frozen=True)
class ClassPair(Pair):
    """A class whose `backward` is claimed to be that of its `forward`."""

    kind: type = field(kw_only=True)

    def prepare(self, seed: int) -> Prepared:
        given = self.given(seed)
        if isinstance(given, Mapping):
            given = tuple(given.values())
        if given and isinstance(given[0], self.kind):
            instance, given = given[0], given[1:]
        else:
            instance = self._instance(seed)
        forward = next(getattr(instance, name) for name in FORWARDS if hasattr(instance, name))
        loss = next((getattr(instance, name) for name in _LOSSES if hasattr(instance, name)), None)
        plans = [_Plan(instance, loss, forward, loss), _Plan(instance, forward)] if loss else [_Plan(instance, forward)]
        plans = plans if loss is None or _takes_cotangent(instance, forward) is False else plans[::-1]
        trouble = ""
        for plan in plans:
            try:
                return self._prepared(plan, given, seed)
            except Unusable as error:
                trouble = trouble or str(error)
        raise Unusable(trouble)

    def _instance(self, seed: int) -> Any:
        """An instance, its constructor's arguments being made up."""
        parameters = [p for p in parameters_of(self.kind) if p.default is p.empty]
        wanted = wanted_of(vars(self.kind).get("__init__", self.kind), parameters)
        sizes = iter(_SIZES * len(parameters))
        for i, w in enumerate(wanted):
            annotation = str(parameters[i].annotation)
            low = w.name.lower()
            guessed: tuple[Guess, ...] = ()
            if _SIZES_NAME.fullmatch(low) or "list[int]" in annotation:
                guessed = (Guess("constant", value=[3, 4, 2]), Guess("constant", value=(3, 4)))
            elif "int" in annotation or (_SIZE_NAME.fullmatch(low) and not low.startswith("w")):
                guessed = (Guess("constant", value=next(sizes)),)
            wanted[i] = replace(w, guesses=guessed or w.guesses)
        made: list[Any] = []
        trouble: list[str] = [""]

        def attempt(values: list[Any]) -> Outcome:
            np.random.seed(seed % 2**32)
            try:
                with trying():
                    made.append(self.kind(**{w.name: v for w, v in zip(wanted, values, strict=True)}))
            except Exception as error:
                trouble[0] = f"{type(error).__name__}: {error}"
                return "bad"
            return "good"

        search(wanted, attempt, seed)
        if not made:
            raise Unusable(f"no {self.kind.__name__} could be made ({trouble[0]}). {self._advice('')}")
        return made[-1]

    def _advice(self, arguments: str) -> str:
        name = self.kind.__name__
        return f"Write  def pullback_inputs_{name}(): return {name}(...), {arguments or '...'}  into the file"

    def _prepared(self, plan: _Plan, given: Any, seed: int) -> Prepared:
        names = [p.name for p in plan.parameters]
        prepared: list[Prepared] = []
        trouble = ["it runs with none of the arguments that were tried"]
        start = copy.deepcopy(vars(plan.instance))

        def attempt(values: list[Any]) -> Outcome:
            vars(plan.instance).clear()
            vars(plan.instance).update(copy.deepcopy(start))
            try:
                with trying():
                    found = plan.prepared(dict(zip(names, values, strict=True)), seed)
            except Exception as error:
                trouble.append(str(error) if isinstance(error, Unusable) else f"{type(error).__name__}: {error}")
                return "bad"
            if found is None:
                return "domain"
            prepared.append(found)
            return "good"

        if given is not None:
            if len(given) < len([p for p in plan.parameters if p.default is p.empty]):
                raise Unusable(f"the inputs of {self.name} should be ({', '.join(names)})")
            attempt([*given, *(p.default for p in plan.parameters[len(given) :])])
        else:
            search(self._wanted(plan), attempt, seed)
        if not prepared:
            advice = self._advice(", ".join(names))
            raise Unusable(f"no arguments were found that {self.name} can be run with ({trouble[-1]}). {advice}")
        return prepared[-1]

    def _wanted(self, plan: _Plan) -> list[Wanted]:
        """Guesses for the arguments, the widths of the instance's own arrays among them."""
        widths = sorted({n for place in _places(plan.instance) for n in np.shape(place.get()) if n < 100} - {1})
        found = []
        known = [p.replace(default=inspect.Parameter.empty) if p.default is None else p for p in plan.parameters]
        for w in wanted_of(plan.f, known, also=["w"]):
            more = [
                replace(guess, shape=shape)
                for guess in w.guesses[:1]
                if guess.kind in ("float", "labels") and len(guess.shape) < 3
                for n in widths
                for shape in ((5, n), (n,), (n, 5), (n, 1))
            ]
            ordered = [*w.guesses[:2], *more, *w.guesses[2:]]
            found.append(replace(w, guesses=tuple(dict.fromkeys(ordered))))
        return found


class _Plan:
    """How an instance is run: one method; or `forward` and then a loss of what it returned."""

    def __init__(self, instance: Any, f: Callable[..., Any], forward: Any = None, loss: Any = None) -> None:
        self.instance, self.f = instance, f
        self.parameters = parameters_of(f)
        mine = [p.name for p in self.parameters]
        of_forward = [] if forward is None or forward == loss else parameters_of(forward)
        self.lead = ""
        args = mine
        if of_forward and not {p.name for p in of_forward} & set(mine):
            takes_result = len([p for p in self.parameters if p.default is p.empty]) > 1
            self.lead = f"result_ := self_.{forward.__name__}({', '.join(p.name for p in of_forward)}), "
            args = ["result_", *mine[1:]] if takes_result else mine
            self.parameters = [*of_forward, *self.parameters[int(takes_result) :]]
        self.call = f"{self.lead}{'' if self.lead else 'result_ := '}self_.{f.__name__}({', '.join(args)})"

    def prepared(self, values: dict[str, Any], seed: int) -> Prepared | None:
        """Function and claim at these arguments; None if what comes out is not finite."""
        instance = self.instance
        before = _places(instance)
        space: dict[str, Any] = {"self_": instance, **copy.deepcopy(values)}
        result = _first(eval_like(self.f, f"({self.call},)[-1]", space))
        if not np.isfinite(np.asarray(result, float)).all():
            return None
        backward, text, is_vjp = self._backward(values, np.size(result) == 1)
        for name in _ZERO:
            if callable(getattr(instance, name, None)):
                text = f"self_.{name}(), {text}"
                break
        space["cotangent_"] = np.ones_like(result) if isinstance(result, np.ndarray) else 1.0
        returned = eval_like(backward, f"({self.call}, {text})[-1]", space)
        owned, given = _gradients(instance, before, values, returned, backward)
        if not owned and not given:
            raise Unusable(
                f"backward of {type(instance).__name__} leaves no gradient that belongs to an array it holds"
            )
        kept = [p for p in before if p not in [o[0] for o in owned] and not _is_gradient(p, before)]
        setting = _Setting([o[0] for o in owned], kept)
        gather = _Gather([*(o[1] for o in owned), *given.values()])
        names = [o[0].name for o in owned] + list(given)
        space.update({k: v for k, v in copy.deepcopy(values).items() if k not in given})
        space = {k: v for k, v in space.items() if k not in given and k != "cotangent_"}
        space |= {"set_": setting, "gather_": gather, "first_": _first}
        set_all = f"set_(({''.join(o[0].name + ',' for o in owned)}))"
        f = expression(self.f, names, f"first_(({set_all}, {self.call})[-1])", space)
        head = ["cotangent_", *names] if is_vjp else names
        claim = expression(
            backward,
            head,
            f"gather_(({set_all}, {self.call}, {text})[-1])",
            space | {} if is_vjp else {**space, "cotangent_": 1.0},
        )
        f.__name__ = type(instance).__name__
        rng = np.random.default_rng(seed)
        arrays = [p.get() if np.ptp(p.get()) else 0.5 * rng.standard_normal(np.shape(p.get())) for p, _ in owned]
        args = (*(np.array(a, float) for a in arrays), *(values[name] for name in given))
        return Prepared(f, claim, args, "vjp" if is_vjp else "gradient")

    def _backward(self, values: Mapping[str, Any], is_scalar: bool) -> tuple[Callable[..., Any], str, bool]:
        """The backward, the text of its call, and whether that has a cotangent."""
        backward = self.instance.backward
        args, has_cotangent = [], False
        for p in parameters_of(backward):
            low = p.name.lower()
            if p.name in values:
                args.append(p.name)
            elif low in RESULTS and not (
                low in COTANGENTS or (not has_cotangent and not is_scalar and p.default is p.empty)
            ):
                args.append("result_")
            elif p.default is not p.empty and low not in COTANGENTS:
                break
            elif not has_cotangent:
                args.append("cotangent_")
                has_cotangent = True
            else:
                raise Unusable(
                    f"the parameter {p.name} of {type(self.instance).__name__}.backward is none of "
                    f"{self.f.__name__}'s: give it the name that it has there"
                )
        if not has_cotangent and not is_scalar:
            raise Unusable(
                f"{type(self.instance).__name__}.backward takes no cotangent, and {self.f.__name__} returns no number"
            )
        return backward, f"self_.backward({', '.join(args)})", has_cotangent


class _Setting:
    """Puts arrays into an instance, and everything else back to what it was, NumPy's random state as well: a dropout
    drops the same in every call.
    """

    def __init__(self, places: list[_Place], kept: list[_Place]) -> None:
        self.places = places
        self.kept = [(place, copy.deepcopy(place.get())) for place in kept]
        self.random = np.random.get_state()

    def __call__(self, values: Sequence[Any]) -> None:
        np.random.set_state(self.random)
        for place, value in self.kept:
            place.set(copy.deepcopy(value))
        for place, value in zip(self.places, values, strict=True):
            place.set(value)


class _Gather:
    """The gradients, from what `backward` has returned and from where it has left them."""

    def __init__(self, getters: Sequence[Callable[[Any], Any]]) -> None:
        self.getters = getters

    def __call__(self, returned: Any) -> tuple[Any, ...]:
        return tuple(getter(returned) for getter in self.getters)


def eval_like(like: Callable[..., Any], text: str, space: Mapping[str, Any]) -> Any:
    """What an expression gives now, in a user's module."""
    return expression(like, [], text, space)()


def _first(result: Any) -> Any:
    """The value, of what was returned with a cache or with gradients beside it."""
    return result[0] if isinstance(result, tuple) else result


def _takes_cotangent(instance: Any, forward: Callable[..., Any]) -> bool:
    known = {p.name for p in parameters_of(forward)}
    return any(p.name not in known and p.name.lower() in COTANGENTS for p in parameters_of(instance.backward))


# What an instance holds


def _places(instance: Any) -> list[_Place]:
    """The places of all float arrays that an instance holds."""
    found: list[_Place] = []
    seen: set[int] = set()

    def walk(owner: Any, home: Any, store: str, prefix: str, depth: int) -> None:
        if id(owner) in seen or depth > _DEEP:
            return
        seen.add(id(owner))
        for key, value in _items(owner):
            name = re.sub(r"\W", "_", f"{prefix}{key}")
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                found.append(_Place(owner, key, name, home, store))
            elif isinstance(value, dict | list):
                walk(value, home, store or str(key), f"{name}_", depth + 1)
            elif _is_users(value):
                walk(value, value, "", f"{name}_", depth + 1)

    walk(instance, instance, "", "", 0)
    return found


def _items(owner: Any) -> list[tuple[Any, Any]]:
    if isinstance(owner, dict):
        return list(owner.items())
    return list(enumerate(owner)) if isinstance(owner, list) else list(vars(owner).items())


def _is_users(value: Any) -> bool:
    library = type(value).__module__.partition(".")[0]
    return hasattr(value, "__dict__") and not isinstance(value, type) and library not in (*_LIBRARIES, "builtins")


def _is_gradient(place: _Place, places: Sequence[_Place]) -> bool:
    """Whether a place holds the gradient of another."""
    if place.store:
        stores = {other.store for other in places if other.home is place.home} - {"", place.store}
        return place.store in _STORES or any(place.store in gradient_names(store)[:-1] for store in stores)
    mine = (other for other in places if other.owner is place.owner)
    return any(place.key in gradient_names(str(other.key))[:-1] for other in mine)


def _gradients(
    instance: Any, places: Sequence[_Place], values: Mapping[str, Any], returned: Any, backward: Callable[..., Any]
) -> tuple[list[tuple[_Place, _Getter]], dict[str, _Getter]]:
    """What `backward` gives the gradient of, and how it is got: arrays that the instance holds, and arguments."""
    keys: dict[str, _Getter] = {}
    names = returned_names(backward) or []
    if isinstance(returned, Mapping):
        keys = {str(key): itemgetter(key) for key in returned}
    elif isinstance(returned, tuple | list):
        known = names if len(names) == len(returned) else [f"d{name}" for name in values]
        keys = {name: itemgetter(i) for i, name in enumerate(known[: len(returned)]) if name}
    elif returned is not None:
        keys = dict.fromkeys(names[:1], _itself)
    floats = {n: v for n, v in values.items() if isinstance(v, np.ndarray | float) and np.asarray(v).dtype.kind == "f"}
    given = {name: getter for name in floats if (getter := _of(name, keys)) is not None}
    first = next(iter(values), "")
    if not given and isinstance(returned, np.ndarray) and first in floats and np.shape(floats[first]) == returned.shape:
        given[first] = _itself
    owned = []
    for place in places:
        if not _is_gradient(place, places):
            held = _held(place, instance) or _of(str(place.key), keys)
            if held is not None:
                owned.append((place, held))
    return owned, given


def _of(name: str, keys: Mapping[str, _Getter]) -> _Getter | None:
    return next((keys[candidate] for candidate in gradient_names(name) if candidate in keys), None)


def _itself(returned: Any) -> Any:
    return returned


def _held(place: _Place, instance: Any) -> _Getter | None:
    """How to get the gradient of the array at `place` from where it is held; None if it is held nowhere."""
    home = place.home
    if not place.store:
        for candidate in gradient_names(str(place.key))[:-1]:
            if isinstance(vars(home).get(candidate), np.ndarray | np.generic | float):
                return lambda _: copy.copy(vars(home)[candidate])
    stores = [(owner, name) for owner in (home, instance) for name in _STORES]
    stores += [(home, name) for name in gradient_names(place.store)[:-1] if place.store]
    for owner, name in stores:
        store = vars(owner).get(name)
        if isinstance(store, list) and place.store and isinstance(place.key, int) and place.key < len(store):
            return lambda _: copy.copy(vars(owner)[name][place.key])
        if isinstance(store, dict):
            for candidate in (place.key, *gradient_names(str(place.key))):
                if isinstance(store.get(candidate), np.ndarray | np.generic | float):
                    return lambda _: copy.copy(vars(owner)[name][candidate])
    return None
