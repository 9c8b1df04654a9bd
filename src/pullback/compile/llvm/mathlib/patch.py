"""Corrections that few arguments need: a function that the vectoriser may call for a whole vector at a time.

A patch takes an argument x and the value y that holds for |x| < bound. It returns y, unless x lies beyond: then it
computes the value in another function. The scalar patch has vector variants, named in the attribute of the call, which
test a vector of arguments with one branch. So the slow computation costs next to nothing where it isn't needed.
"""

from __future__ import annotations

from .code import FORMATS, Code, Value

__all__ = ["call", "definition"]

WIDTHS = {"double": (2, 4, 8), "float": (4, 8, 16)}

_DEFINITION = """\
define internal {type} {patch}({type} %x, {type} %y) noinline nounwind willreturn memory(none) {{
  %a = call {type} @llvm.fabs.{suffix}({type} %x)
  %beyond = fcmp oge {type} %a, {bound}
  br i1 %beyond, label %far, label %near
near:
  ret {type} %y
far:
  {compute}
  ret {type} %z
}}"""

_COMPUTE = {
    "double": "%z = call double {far}(double %x)",
    "float": """%d = fpext float %x to double
  %r = call double {far}(double %d)
  %z = fptrunc double %r to float""",
}

_VARIANT = """\
define internal {vector} {patch}.v{width}({vector} %x, {vector} %y) noinline nounwind willreturn memory(none) {{
  %a = call {vector} @llvm.fabs.v{width}{suffix}({vector} %x)
  %beyond = fcmp oge {vector} %a, splat ({type} {bound})
  %mask = bitcast <{width} x i1> %beyond to i{width}
  %none = icmp eq i{width} %mask, 0
  br i1 %none, label %near, label %far
near:
  ret {vector} %y
far:
  %i = phi i64 [0, %0], [%j, %far]
  %old = phi {vector} [%y, %0], [%new, %far]
  %xi = extractelement {vector} %x, i64 %i
  %yi = extractelement {vector} %y, i64 %i
  %zi = call {type} {patch}({type} %xi, {type} %yi)
  %new = insertelement {vector} %old, {type} %zi, i64 %i
  %j = add nuw i64 %i, 1
  %more = icmp ult i64 %j, {width}
  br i1 %more, label %far, label %done
done:
  ret {vector} %new
}}"""


def call(c: Code, patch: str, x: Value, y: Value) -> Value:
    """The call of a patch, for which the vectoriser finds the variants."""
    name = patch.removeprefix("@")
    variants = ",".join(f"_ZGV_LLVM_N{width}vv_{name}({name}.v{width})" for width in WIDTHS[x.type])
    attributes = f'nounwind willreturn memory(none) "vector-function-abi-variant"="{variants}"'
    return c.emit(x.type, f"call {x.type} {patch}({x.type} {x.text}, {y.type} {y.text}) {attributes}")


def definition(patch: str, far: str, type: str, bound: float) -> tuple[str, list[str], set[str]]:
    """The patch and its variants, which compute in `far`: text, the names that must be kept, intrinsics declared."""
    suffix = FORMATS[type].suffix
    facts = {
        "type": type,
        "patch": patch,
        "suffix": suffix,
        "bound": Code().constant(bound, type).text,
        "compute": _COMPUTE[type].format(far=far),
    }
    texts = [_DEFINITION.format(**facts)]
    declarations = {f"declare {type} @llvm.fabs.{suffix}({type})"}
    for width in WIDTHS[type]:
        vector = f"<{width} x {type}>"
        texts.append(_VARIANT.format(vector=vector, width=width, **facts))
        declarations.add(f"declare {vector} @llvm.fabs.v{width}{suffix}({vector})")
    return "\n\n".join(texts), [patch, *(f"{patch}.v{width}" for width in WIDTHS[type])], declarations
