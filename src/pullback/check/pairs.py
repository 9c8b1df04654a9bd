"""A function and what is claimed of its gradient, as a user's file has them: how the two are to be called.

A gradient function is called by the names of its parameters: one that the function has as well gets the same argument;
`cache` gets what the function returned beside its value; what is left over is the cotangent. What it returns belongs to
the arguments that its `return dW, db` names; without such names, to those whose shapes fit. Arguments of which nothing
is claimed are held fixed.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pullback.check.calling import (
    CACHES,
    COTANGENTS,
    RESULTS,
    Unusable,
    belonging,
    by_keyword,
    called,
    expression,
    floats_of,
    frameworks_of,
    has_floats,
    like,
    named,
    ones_like,
    parameters_of,
    piece_of,
    remade,
    returned_names,
    shape_of,
    size_of,
    trying,
    wanted_of,
)
from pullback.check.inputs import Outcome, Wanted, search
from pullback.check.mark import Form
from pullback.check.other import check_hessian, check_jacobian, check_jvp
from pullback.check.report import Report
from pullback.check.run import check, check_vjp

__all__ = ["FrameworkPair", "FunctionPair", "Pair", "Prepared"]

_DOMAIN: Final = ("math domain error", "positive definite", "must be positive", "range error")


@dataclass(frozen=True)
class Prepared:
    """A pair made ready: the function, the claim (None: that of the framework it is written in), and the arguments."""

    f: Callable[..., Any]
    claim: Callable[..., Any] | None
    args: tuple[Any, ...]
    form: Form

    def check(self, seed: int | None = None) -> Report:
        """Confirmed, refuted or undecided."""
        if self.claim is None:
            return check(self.f, *self.args, seed=seed)
        if self.form == "gradient":
            return check(self.f, *self.args, grad=self.claim, seed=seed)
        others: dict[str, Callable[..., Report]] = {
            "vjp": check_vjp,
            "jvp": check_jvp,
            "jacobian": check_jacobian,
            "hessian": check_hessian,
        }
        return others[self.form](self.f, self.claim, *self.args, seed=seed)


@dataclass(frozen=True)
class Pair:
    """Something found in a file that can be checked. `name` is how it is asked for, `line` where the gradient is."""

    name: str
    file: str
    line: int
    inputs: Any = None

    def prepare(self, seed: int) -> Prepared:
        """Arguments, and the function and the claim to be called with them. Raises `Unusable`."""
        raise NotImplementedError

    def given(self, seed: int) -> Any:
        """The inputs the user has written for it: a tuple, a dict by names, or None."""
        found = self.inputs
        if callable(found):
            try:
                found = found(np.random.default_rng(seed)) if parameters_of(found) else found()
            except Exception as error:
                raise Unusable(f"the inputs of {self.name} raise {type(error).__name__}: {error}") from error
        if found is None or isinstance(found, tuple | dict):
            return found
        return tuple(found) if isinstance(found, list) else (found,)


@dataclass(frozen=True)
class FunctionPair(Pair):
    """A function `f`, and another one that gives its gradient."""

    f: Callable[..., Any] = field(kw_only=True)
    claim: Callable[..., Any] = field(kw_only=True)
    form: Form | None = field(default=None, kw_only=True)

    def prepare(self, seed: int) -> Prepared:
        parameters = parameters_of(self.f)
        given = self.given(seed)
        if given is None:
            wanted = wanted_of(self.f, parameters)
            return self._found(wanted, [p.name for p in parameters], seed)
        if isinstance(given, Mapping) and not given.keys() <= {p.name for p in parameters}:
            given = (given,)  # one argument, that is a dict
        values = dict(given) if isinstance(given, Mapping) else dict(zip([p.name for p in parameters], given))
        missing = [p.name for p in parameters if p.name not in values and p.default is p.empty]
        if missing:
            raise Unusable(f"the inputs of {self.name} have nothing for {', '.join(missing)}")
        values = {p.name: values.get(p.name, p.default) for p in parameters}
        with trying():
            return self._bound(values, called(self.f, values))

    def _found(self, wanted: list[Wanted], names: list[str], seed: int) -> Prepared:
        prepared: list[Prepared] = []
        names_in_text = f"{', '.join(names)}{',' * (len(names) == 1)}"
        trouble: list[tuple[int, str]] = [(0, "it runs with none of the arguments that were tried")]

        def attempt(values: list[Any]) -> Outcome:
            try:
                with trying():
                    result = called(self.f, dict(zip(names, values)))
                    if not np.isfinite(floats_of(result)).all():
                        return "domain"
            except (ArithmeticError, ValueError) as error:
                is_domain = isinstance(error, ArithmeticError) or any(text in str(error) for text in _DOMAIN)
                trouble.append((1, f"{named(self.f)} raises {type(error).__name__}: {error}"))
                return "domain" if is_domain else "bad"
            except Exception as error:
                trouble.append((1, f"{named(self.f)} raises {type(error).__name__}: {error}"))
                return "bad"
            try:
                with trying():
                    prepared.append(self._bound(dict(zip(names, values)), result, {w.name: w for w in wanted}))
            except Unusable as error:
                trouble.append((3, str(error)))
                return "bad"
            except Exception as error:
                trouble.append((2, f"{named(self.claim)} raises {type(error).__name__}: {error}"))
                return "bad"
            return "good"

        for framework in frameworks_of(self.f):
            if search(wanted, lambda values: attempt([like(framework, v) for v in values]), seed) is not None:  # noqa: B023
                return prepared[-1]
        told = max(reversed(trouble), key=lambda found: found[0])[1]
        raise Unusable(
            f"no arguments were found that {named(self.f)} and {named(self.claim)} can be called with ({told}). "
            f"Write  def pullback_inputs_{self.name.replace('.', '_')}(): return ({names_in_text})  "
            f"into the file, or  @pb.gradient_of({named(self.f)}, inputs=...)  above the gradient"
        )

    def _bound(self, values: dict[str, Any], result: Any, made: Mapping[str, Wanted] | None = None) -> Prepared:
        """Function and claim at arguments that the function runs with, giving `result`.

        Arguments that were `made` up are made again where what is claimed of them shows that others are meant.
        """
        parameters = parameters_of(self.f)
        if self.form in ("jvp", "hessian") or (self.form == "jacobian" and size_of(result) != 1):
            return Prepared(self.f, self.claim, tuple(values.values()), self.form)
        sources, has_cotangent = self._sources(list(values))
        has_cache = "cache" in sources.values()
        is_pair = isinstance(result, tuple) and len(result) > 1
        if has_cache and not is_pair:
            raise Unusable(f"{named(self.claim)} wants a cache, but {named(self.f)} returns no pair (value, cache)")
        first = has_cache or (is_pair and not has_cotangent and size_of(result[0]) == 1)
        value = result[0] if first else result
        local = {**values, "result_": value, "cache_": result[1] if has_cache else None}
        local["cotangent_"] = ones_like(value) if has_cotangent else None
        returned = self.claim(
            *(copy.deepcopy(local[_local(source)]) for name, source in sources.items() if not name.startswith("*")),
            **{name[1:]: local[_local(source)] for name, source in sources.items() if name.startswith("*")},
        )
        keys = belonging(returned, self.claim, values, {p.name for p in parameters if p.default is not p.empty})
        for name, key in keys.items() if made else ():
            other = remade(name, values, piece_of(returned, key), made[name])  # type: ignore[index]
            if other is not None:
                with suppress(Exception):
                    again = {**values, name: other}
                    return self._bound(again, called(self.f, again), made)
        keys = {name: key for name, key in keys.items() if has_floats(values[name])}
        if not keys:
            raise Unusable(f"{named(self.claim)} returns nothing that belongs to a float argument of {named(self.f)}")
        shape = None if has_cotangent else self._shape_of_claim(returned, keys, values, value)
        floats = [name for name in values if has_floats(values[name])]
        if not first and shape is None and list(keys) == floats and not by_keyword(parameters):
            natural = list(keys.values()) in ([None], list(range(len(floats))))
            if natural and list(sources.values()) == ["cotangent"] * has_cotangent + list(values):
                return Prepared(self.f, self.claim, tuple(values.values()), "vjp" if has_cotangent else "gradient")
        return self._adapted(values, keys, sources, "[0]" * first, shape)

    def _adapted(
        self, values: dict[str, Any], keys: dict[str, Any], sources: dict[str, str], first: str, shape: str | None
    ) -> Prepared:
        """Function and claim as functions of the arguments of which something is claimed, the others being held."""
        held = {name: copy.deepcopy(values[name]) for name in values if name not in keys}
        space = {**held, "function_": self.f, "claim_": self.claim, "pick_": _Pick(tuple(keys.values()), shape)}
        parameters = parameters_of(self.f)
        call = ", ".join(f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else p.name for p in parameters)
        call = f"function_({call})"
        claim = ", ".join(f"{n[1:]}={_local(s)}" if n.startswith("*") else _local(s) for n, s in sources.items())
        claim = f"claim_({claim})"
        if "cache" in sources.values():
            claim = f"(run_ := {call}, cache_ := run_[1], result_ := run_[0], {claim})[-1]"
        elif "result" in sources.values():
            claim = f"(result_ := {call}{first}, {claim})[-1]"
        is_vjp = shape is not None or "cotangent" in sources.values()
        lead = ["cotangent_"] * is_vjp
        return Prepared(
            expression(self.f, list(keys), call + first, space),
            expression(self.claim, [*lead, *keys], f"pick_({claim}, {'cotangent_' if is_vjp else None})", space),
            tuple(values[name] for name in keys),
            "vjp" if is_vjp else "gradient",
        )

    def _sources(self, names: list[str]) -> tuple[dict[str, str], bool]:
        """For each parameter of the claim where its argument comes from: the name of one of the function's, "cache",
        "result" or "cotangent". A keyword-only one has a star before its name.
        """
        parameters = parameters_of(self.claim)
        if any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(self.claim).parameters.values()):
            lead = ["cotangent"] * (self.form == "vjp" or (bool(parameters) and parameters[0].name not in names))
            return {**{f"{s}_": s for s in lead}, **{n: n for n in names}}, bool(lead)
        found: dict[str, str | None] = {}
        returned = returned_names(self.f) or []
        matched = {p.name for p in parameters if p.name in names}
        same_count = len(parameters) == len(names) and not any(p.name.lower() in COTANGENTS for p in parameters)
        if not matched and same_count and self.form != "vjp":
            return dict(zip([p.name for p in parameters], names)), False
        for p in parameters:
            low = p.name.lower()
            if p.name in names:
                found[p.name] = p.name
            elif low in CACHES:
                found[p.name] = "cache"
            elif low in COTANGENTS and "cotangent" not in found.values() and self.form in (None, "vjp"):
                found[p.name] = "cotangent"
            elif p.name in returned[:1] or low in RESULTS:
                found[p.name] = "result"
            else:
                found[p.name] = None
        left = [name for name, source in found.items() if source is None]
        if self.form == "vjp" and left and "cotangent" not in found.values():
            found[left.pop(0)] = "cotangent"
        others = [name for name in names if name not in found.values()]
        required = [n for n in left if next(p for p in parameters if p.name == n).default is inspect.Parameter.empty]
        if required and len(required) > len(others):
            raise Unusable(
                f"the parameter {required[0]} of {named(self.claim)} is none of {named(self.f)}'s: "
                "give it the name that it has there, or call it `grad_output` if it is the cotangent, `cache` if it is "
                "what the function returns beside its value"
            )
        found.update(zip(required, others))
        keyword = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        sources = {("*" + n if n in keyword else n): s for n, s in found.items() if s is not None}
        return sources, "cotangent" in sources.values()

    def _shape_of_claim(self, returned: Any, keys: dict[str, Any], values: dict[str, Any], value: Any) -> str | None:
        """How to read a gradient without a cotangent: as of a scalar (None), element by element, or as a Jacobian."""
        if size_of(value) == 1:
            return None
        shapes = [(shape_of(piece_of(returned, key)), shape_of(values[name]) or ()) for name, key in keys.items()]
        out = shape_of(value) or ()
        if all(claimed == (*out, *argument) for claimed, argument in shapes) or self.form == "jacobian":
            return "jacobian"
        if all(claimed == out == argument for claimed, argument in shapes):
            return "elementwise"
        raise Unusable(
            f"{named(self.f)} gives an array of shape {out} and {named(self.claim)} takes no cotangent: "
            "reduce the function to a number, or let the gradient take the cotangent as `grad_output`"
        )


@dataclass(frozen=True)
class FrameworkPair(Pair):
    """A function of another framework with a backward written for it: that framework's own gradient is the claim."""

    f: Any = field(kw_only=True)
    forward: Callable[..., Any] = field(kw_only=True)  # whose parameters it has
    framework: str = field(kw_only=True)

    def prepare(self, seed: int) -> Prepared:
        given = self.given(seed)
        parameters = [p for p in parameters_of(self.forward) if p.name != "ctx"]
        names = [p.name for p in parameters]
        if isinstance(given, Mapping):
            given = tuple(given[name] for name in names if name in given)
        trouble = [""]

        def attempt(values: list[Any]) -> Outcome:
            try:
                with trying():
                    return "good" if np.isfinite(floats_of(self.f(*copy.deepcopy(values)))).all() else "domain"
            except Exception as error:
                trouble[0] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                return "bad"

        if given is None:
            made = search(
                wanted_of(self.forward, parameters),
                lambda values: attempt([like(self.framework, v) for v in values]),
                seed,
            )
            if made is None:
                raise Unusable(
                    f"no arguments were found that {self.name} can be called with ({trouble[0]}). "
                    f"Write  def pullback_inputs_{self.name}(): return ({', '.join(names)},)  into the file"
                )
            given = tuple(like(self.framework, value) for value in made)
        return Prepared(self.f, None, given, "vjp")


class _Pick:
    """What a claim returned, as a tuple of gradients in the arguments' order, multiplied by a cotangent if need be."""

    def __init__(self, keys: tuple[Any, ...], shape: str | None) -> None:
        self.keys, self.shape = keys, shape

    def __call__(self, returned: Any, cotangent: Any) -> Any:
        found = [piece_of(returned, key) for key in self.keys]
        if self.shape == "elementwise":
            found = [g * cotangent for g in found]
        elif self.shape == "jacobian":
            found = [np.tensordot(cotangent, g, np.ndim(cotangent)) for g in found]
        return tuple(found)


def _local(source: str) -> str:
    return source + "_" if source in ("cotangent", "cache", "result") else source
