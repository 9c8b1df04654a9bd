"""What a user's module has that can be checked.

    @pb.gradient_of(f)                                    on any function
    f and  f_grad grad_f df f_prime ...                   called as f is
    f and  f_backward f_vjp ...,  f_jvp                   with a cotangent, or tangents
    f_forward and f_backward,  forward and backward       the same, in pairs
    a class with forward (or loss, or __call__) and backward
    a torch.autograd.Function, a jax.custom_vjp           if the module has imported the framework

Inputs are those of the decorator, or of a function `pullback_inputs_<name>()` or `pullback_inputs()` in the module.
"""

from __future__ import annotations

import ast
import inspect
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Final

import numpy as np

from pullback.check.calling import Unusable, parameters_of, trying
from pullback.check.layers import FORWARDS, ClassPair
from pullback.check.mark import Form, mark_of
from pullback.check.pairs import FrameworkPair, FunctionPair, Pair
from pullback.check.report import Report
from pullback.tape.location import is_internal

__all__ = ["Result", "collect", "examine", "is_worth_running", "partners"]

# How a gradient of `f` may be called, and what is claimed of it; None if its parameters tell.
_PATTERNS: Final[tuple[tuple[str, Form | None], ...]] = (
    *((pattern, "vjp") for pattern in "{}_vjp vjp_{} {}_pullback pullback_{}".split()),
    *((pattern, "jvp") for pattern in "{}_jvp jvp_{} {}_pushforward".split()),
    *((pattern, "hessian") for pattern in "{}_hess {}_hessian hess_{} hessian_{}".split()),
    *((pattern, "jacobian") for pattern in "{}_jac {}_jacobian jac_{} jacobian_{}".split()),
    *((pattern, None) for pattern in "{}_backward backward_{} {}_bwd bwd_{} {}_back {}_backprop backprop_{}".split()),
    *((pattern, None) for pattern in "{}_grad grad_{} {}_gradient gradient_{} gradient_of_{} {}_grads".split()),
    *((pattern, None) for pattern in "d{} d_{} {}_prime {}prime {}_derivative {}_deriv {}_der derivative_{}".split()),
)
_ALONE: Final = {
    "backward": ("forward", "loss", "f"),
    **dict.fromkeys(("grad", "gradient", "gradients"), ("f", "loss", "cost", "objective", "fun", "func", "forward")),
    **dict.fromkeys(("jac", "jacobian"), ("f", "fun", "func", "residuals")),
    **dict.fromkeys(("hess", "hessian"), ("f", "fun", "func", "loss", "objective")),
    "backprop": ("forward", "loss"),
}
_ENDINGS: Final = ("_forward", "_fwd", "_loss", "_cost", "")
_MARKERS: Final = ("gradient_of", "custom_vjp", "defvjp")
INPUTS: Final = "pullback_inputs"


def collect(module: ModuleType) -> list[Pair]:
    """All pairs of a module, in the order in which their gradients stand in it."""
    space = dict(vars(module))
    own = {name: value for name, value in space.items() if _is_from(value, module)}
    found: list[Pair] = []
    taken: set[int] = set()

    def add(of: type[Pair], name: str, where: Any, inputs: Any = None, **more: Any) -> None:
        file, line = _position(where, module)
        given = inputs if inputs is not None else _inputs(space, name)
        found.append(of(name=name, file=file, line=line, inputs=given, **more))

    for name, value in own.items():
        mark = mark_of(value)
        if mark is not None and id(value) not in taken:
            taken.add(id(value))
            base = getattr(mark.f, "__name__", name)
            add(FunctionPair, base, value, mark.inputs, f=mark.f, claim=value, form=mark.form)
    for value in own.values():
        if _framework_of(value) == "jax":
            taken |= {id(value.fwd), id(value.bwd)}
    for name, value in own.items():
        if not inspect.isfunction(value) or id(value) in taken:
            continue
        for partner, form in partners(name):
            f = space.get(partner)
            if f is not None and f is not value and inspect.isroutine(f) and mark_of(f) is None:
                taken.add(id(value))
                add(FunctionPair, partner, value, f=f, claim=value, form=form)
                break
    for name, value in own.items():
        if isinstance(value, type) and name == value.__name__ and _is_layer(value):
            add(ClassPair, name, value, kind=value)
        elif (framework := _framework_of(value)) is not None:
            forward = value.forward if framework == "torch" else getattr(value, "__wrapped__", value)
            f = value.apply if framework == "torch" else value
            where = value.backward if framework == "torch" else value.bwd or forward
            add(FrameworkPair, name, where, f=f, forward=forward, framework=framework)
    found.sort(key=lambda pair: pair.line if pair.file == getattr(module, "__file__", None) else 0)
    return _told_apart(found)


def partners(name: str) -> Iterator[tuple[str, Form | None]]:
    """The functions that one of this name may be the gradient of, and what it claims."""
    for pattern, form in _PATTERNS:
        before, after = pattern.split("{}")
        if len(name) > len(before + after) and name.startswith(before) and name.endswith(after):
            base = name[len(before) : len(name) - len(after)]
            for ending in ("", "_forward", "_fwd", "_loss", "_fn", "_function"):
                yield base + ending, form
            yield f"forward_{base}", form
            yield f"compute_{base}", form
    forms: dict[str, Form] = {"jac": "jacobian", "jacobian": "jacobian", "hess": "hessian", "hessian": "hessian"}
    for partner in _ALONE.get(name, ()):
        yield partner, forms.get(name)


def is_worth_running(source: str) -> bool:
    """Whether there may be something to check in a file, by its text: so that no file is run for nothing."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return False
    names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    names |= {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
            if "backward" in methods and methods & set(FORWARDS):
                return True
        elif isinstance(node, ast.Name | ast.Attribute) and _last(node) in _MARKERS:
            return True
    return any(partner in names for name in names for partner, _ in partners(name) if partner != name)


def _last(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def _is_from(value: Any, module: ModuleType) -> bool:
    """Whether a value was made in this module; a notebook's and a custom rule's are told by their code."""
    inner = inspect.unwrap(value) if callable(value) and not isinstance(value, type) else value
    code = getattr(inner, "__code__", None)
    file = getattr(module, "__file__", None) or ""
    if code is not None:
        return bool(code.co_filename.startswith(file))
    return getattr(value, "__module__", None) == module.__name__


def _is_layer(kind: type) -> bool:
    framework = sys.modules.get("torch")
    if framework is not None and issubclass(kind, framework.autograd.Function):
        return False
    abstract = inspect.isabstract(kind) or _only_raises(getattr(kind, "backward", None))
    return callable(getattr(kind, "backward", None)) and any(_written(kind, name) for name in FORWARDS) and not abstract


def _written(kind: type, name: str) -> bool:
    method = getattr(kind, name, None)
    return inspect.isfunction(method) and not _only_raises(method)


def _only_raises(method: Any) -> bool:
    """Whether a method is there to be overridden."""
    try:
        body = ast.parse(inspect.cleandoc("\n" + inspect.getsource(method))).body[0].body  # type: ignore[attr-defined]
    except (OSError, TypeError, SyntaxError, IndexError, AttributeError):
        return False
    body = [node for node in body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    return all(isinstance(node, ast.Raise | ast.Pass) for node in body)


def _framework_of(value: Any) -> str | None:
    """The framework that a value is a custom rule of; only frameworks that are loaded are asked."""
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if torch is not None and isinstance(value, type) and issubclass(value, torch.autograd.Function):
        return "torch" if "backward" in vars(value) else None
    if jax is not None and isinstance(value, jax.custom_vjp):
        return "jax"
    return None


def _inputs(space: Mapping[str, Any], name: str) -> Any:
    """The inputs that the module's author has written for a pair: of its own, or of all.

    `pullback_inputs` returns the arguments of every pair, or a dict of them by the pairs' names.
    """
    own = space.get(f"{INPUTS}_{name.replace('.', '_')}")
    if own is not None:
        return own
    shared: Callable[..., Any] | None = space.get(INPUTS)
    if shared is None:
        return None

    def chosen(rng: Any) -> Any:
        found = shared(rng) if parameters_of(shared) else shared()
        return (
            found.get(name, found.get(None, found if not _is_by_pair(found, space) else None))
            if isinstance(found, Mapping)
            else found
        )

    return chosen


def _is_by_pair(found: Mapping[Any, Any], space: Mapping[str, Any]) -> bool:
    return any(callable(space.get(str(key))) for key in found)


def _position(value: Any, module: ModuleType) -> tuple[str, int]:
    """The file and the line where a function or a class begins."""
    try:
        inner = inspect.unwrap(value) if not isinstance(value, type) else value
        code = getattr(inner, "__code__", None)
        if code is not None:
            return code.co_filename, code.co_firstlineno
        return inspect.getsourcefile(inner) or "", inspect.getsourcelines(inner)[1]
    except (OSError, TypeError):
        return getattr(module, "__file__", None) or "", 0


def _told_apart(pairs: list[Pair]) -> list[Pair]:
    """The pairs, those of one name being numbered by what the gradient is called: `f` and `f:df`."""
    count: dict[str, int] = {}
    found = []
    for pair in pairs:
        count[pair.name] = count.get(pair.name, 0) + 1
        if count[pair.name] > 1:
            label = getattr(getattr(pair, "claim", None), "__name__", str(count[pair.name]))
            pair = replace(pair, name=f"{pair.name}:{label}")
        found.append(pair)
    return found


# Checking them


@dataclass
class Result:
    """What came of checking a pair: the report; or, of one that can't be checked, why (`verdict` "unusable")."""

    name: str
    file: str
    line: int
    verdict: str
    seconds: float
    message: str = ""
    report: Report | None = None

    @property
    def kind(self) -> str:
        """The kind of the first finding that explains something."""
        findings = [] if self.report is None else self.report.findings
        return findings[0].kind if findings else ""

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {**vars(self), "kind": self.kind, "report": None if self.report is None else self.report.to_dict()}


def examine(pair: Pair, seed: int) -> Result:
    """Check a pair. Nothing that the user's functions raise comes out: a pair whose functions do is unusable."""
    start = time.perf_counter()
    state = np.random.get_state()  # the user's code may draw, and set it
    report, message, verdict = None, "", "unusable"
    try:
        prepared = pair.prepare(seed)
        with trying():
            report = prepared.check(seed)
        report.name = pair.name
        verdict, message = report.verdict, report.reason
    except Unusable as error:
        message = str(error)
    except Exception as error:  # of the user's functions, or about what they return
        frame = next(
            (f for f in reversed(traceback.extract_tb(error.__traceback__)) if not is_internal[f.filename]), None
        )
        where = "" if frame is None or "site-packages" in frame.filename else f" ({frame.filename}:{frame.lineno})"
        message = f"{type(error).__name__}: {error}{where}"
    finally:
        np.random.set_state(state)
    return Result(pair.name, pair.file, pair.line, verdict, time.perf_counter() - start, message, report)
