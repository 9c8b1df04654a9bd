"""The compiler's mathematics library: elementary functions as LLVM IR text, free of branches and of calls to libm.

Every function is one straight run of instructions, so that a loop that calls it is vectorised; see `patch` for the one
call in sines, cosines and tangents. The results are within 2 units in the last place over the whole range, in double
and in single precision; special values are those of C.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from . import exponential, logarithm, patch, special, trigonometric
from .code import FORMATS, Code, Value

__all__ = ["FUNCTIONS", "Source", "source", "symbol"]

_NAMES: dict[Any, str] = {
    exponential: "exp exp2 expm1 sinh cosh tanh sigmoid",
    logarithm: "log log2 log10 log1p asinh acosh atanh softplus log_sigmoid",
    trigonometric: "sin cos tan asin acos atan atan2",
    special: "erf erfc pow cbrt hypot",
}
_RULES = {name: getattr(module, name) for module, names in _NAMES.items() for name in names.split()}
_FAR = {"sin": trigonometric.far_sin, "cos": trigonometric.far_cos, "tan": trigonometric.far_tan}

FUNCTIONS: dict[str, int] = {name: len(inspect.signature(rule).parameters) - 1 for name, rule in _RULES.items()}
"""The functions and their numbers of operands."""


class Source(NamedTuple):
    """Definitions with their constant tables, and the declarations of the intrinsics that they call."""

    definitions: str
    declarations: frozenset[str]


def symbol(name: str, type: str) -> str:
    """The name of the function in LLVM for the type `double` or `float`, such as `@pb.exp.f64`."""
    return f"@pb.{name}.{FORMATS[type].suffix}"


def source(needed: Iterable[tuple[str, str]], *, fma: bool = True, scales: bool = False) -> Source:
    """The functions `(name, type)` as LLVM IR; the module that they go to also needs the declarations, each once.

    `fma` says whether the target has fused multiply-add instructions: without them other formulas are used, since
    `llvm.fma` would be a call to libm. `scales` says whether `llvm.ldexp` is an instruction, as with AVX-512. Where
    sines, cosines or tangents are needed, the text defines `@llvm.compiler.used`, so the module must not.
    """
    texts: list[str] = []
    tables: dict[str, str] = {}
    declarations: set[str] = set()
    kept: list[str] = []

    def define(symbol: str, type: str, arity: int, attributes: str, rule: Callable[..., Value]) -> None:
        code = Code(fma, scales)
        operands = [Value(code, type, f"%{letter}") for letter in "xy"[:arity]]
        result = rule(code, *operands)
        head = f"define internal {type} {symbol}({', '.join(f'{type} {x.text}' for x in operands)})"
        body = "\n".join(code.lines)
        texts.append(f"{head} {attributes} nounwind willreturn memory(none) {{\n{body}\n  ret {type} {result.text}\n}}")
        tables.update(code.tables)
        declarations.update(code.declarations)

    needed = sorted(set(needed))  # the text, by which compiled code is cached, does not depend on the order
    for name, type in needed:
        rule = _RULES[name]
        if name in _FAR:
            rule = _patched(rule, symbol(name, type) + ".patch")
            far = symbol(name, "double") + ".far"
            text, names, intrinsics = patch.definition(
                symbol(name, type) + ".patch", far, type, trigonometric.FAR[type]
            )
            texts.append(text)
            kept += names
            declarations |= intrinsics
        define(symbol(name, type), type, FUNCTIONS[name], "alwaysinline", rule)
    for name in dict.fromkeys(name for name, _ in needed if name in _FAR):
        define(symbol(name, "double") + ".far", "double", 1, "noinline", _FAR[name])
    if kept:
        pointers = ", ".join(f"ptr {name}" for name in kept)
        tables["used"] = (
            f'@llvm.compiler.used = appending global [{len(kept)} x ptr] [{pointers}], section "llvm.metadata"'
        )
    return Source("\n\n".join([*tables.values(), *texts]) + "\n", frozenset(declarations))


def _patched(rule: Callable[..., Value], name: str) -> Callable[..., Value]:
    return lambda code, x: patch.call(code, name, x, rule(code, x))
