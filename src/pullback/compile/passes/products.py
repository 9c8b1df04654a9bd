"""Products: transposes of operands and of results become part of the product."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any, Final

from pullback.compile.passes.rewrite import Rewrite, is_number, rewrite, shape_of, uses
from pullback.values.graph import Graph, Instruction

__all__ = ["labels_of", "products"]


def products(graph: Graph) -> Graph:
    """The graph with each product of transposed operands, or whose result is read transposed only, replaced by an
    `einsum` of two operands as they lie in memory: to BLAS a transposition is a flag.

    Dtypes stay. Sums may be taken in another order, so numbers may differ at rounding level.
    """
    count = uses(graph)
    alone = {
        step.outputs[0]
        for step in graph.instructions
        if step.op.name == "transpose" and count.get(step.args[0], 0) == 1
    }

    def transpose(new: Rewrite, step: Instruction) -> Any:
        product = new.maker(step.args[0])
        labels = labels_of(product) if product is not None and step.outputs[0] in alone else None
        if product is None or labels is None:
            return None
        a, b, out = labels
        return new.apply("einsum", *product.args, spec=f"{a},{b}->{''.join(out[i] for i in step.params['axes'])}")

    return rewrite(graph, {**dict.fromkeys(_PRODUCTS, _product), "transpose": transpose})


def labels_of(step: Instruction) -> tuple[str, str, str] | None:
    """The axes of the two operands and of the result of a product, a letter each, those of equal letters being summed
    or shared; None where it is no such product, or an axis of length 1 is repeated."""
    rule = _PRODUCTS.get(step.op.name)
    if rule is None or len(step.args) != 2 or any(is_number(arg) for arg in step.args):
        return None
    return rule(step)


def _einsum(step: Instruction) -> tuple[str, str, str]:
    operands, out = step.params["spec"].split("->")
    a, b = operands.split(",")
    return a, b, out


def _matmul(step: Instruction) -> tuple[str, str, str] | None:
    a, b = (shape_of(arg)[:-2] for arg in step.args)
    common = min(len(a), len(b))
    if a[len(a) - common :] != b[len(b) - common :]:
        return None
    batch = _LETTERS[: max(len(a), len(b))]
    return f"{batch[len(batch) - len(a) :]}XY", f"{batch[len(batch) - len(b) :]}YZ", f"{batch}XZ"


def _project(step: Instruction) -> tuple[str, str, str]:
    lead = _LETTERS[: len(shape_of(step.args[0])) - 1]
    return f"{lead}Y", "ZY", f"{lead}Z"


_LETTERS: Final = string.ascii_lowercase
_PRODUCTS: Final[dict[str, Callable[[Instruction], tuple[str, str, str] | None]]] = {
    "mm": _matmul,
    "matmul": _matmul,
    "mv": lambda _: ("XY", "Y", "X"),
    "dot": lambda _: ("Y", "Y", ""),
    "project": _project,
    "einsum": _einsum,
}


def _product(new: Rewrite, step: Instruction) -> Any:
    """Of transposed operands; a product of stacks of one matrix each is one of matrices."""
    labels = labels_of(step)
    if labels is None:
        return None
    args, terms = list(step.args), list(labels[:2])
    for i, arg in enumerate(args):
        inner = new.maker(arg, "transpose")
        if inner is not None:
            axes = [a % len(terms[i]) for a in inner.params["axes"]]
            terms[i] = "".join(terms[i][axes.index(a)] for a in range(len(axes)))
            args[i] = inner.args[0]
    if terms == list(labels[:2]):
        plain = step.op.name == "matmul" and labels == ("XY", "YZ", "XZ")
        return new.apply("mm", *args) if plain else None
    return new.apply("einsum", *args, spec=f"{','.join(terms)}->{labels[2]}")
