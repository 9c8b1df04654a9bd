"""The op table: one `Op` holds all that pullback knows of an operation.

A derivative is stated once, in the weakest form that fits, and both modes follow from it:

- *elementwise*: a partial per operand, `(g, y, *xs) -> g * dy/dx_i`. Forward mode feeds it a tangent, reverse mode a
  cotangent. Operands of unequal shape are un-broadcast by the machinery, never by the rule.
- *linear*: a transpose per operand, `(g, y, *xs) -> cotangent`. Forward mode is the op itself.
- *general*: a `vjp`, `(g, y, *xs) -> cotangents` or one for each operand, and a `jvp`, `(tangents, y, *xs) -> tangent`.

Rules are written with ops and operators, so they can be differentiated, batched and traced in turn. A rule's parameter
whose name begins with an underscore is not read, and is then not kept for the backward pass; a linear rule reads only
the shape and dtype of its own operand, which it gets as a `Spec`.

For complex numbers the cotangent follows PyTorch: the gradient of a real loss L with respect to x is
dL/d(Re x) + i dL/d(Im x). Rules are stated for the holomorphic case; the machinery conjugates.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from pullback.ops.lowering import Lowering
from pullback.values.shape import Spec, broadcast_shapes, spec_of

__all__ = [
    "NONE",
    "SPEC",
    "TABLE",
    "UNSUPPORTED",
    "VALUE",
    "Op",
    "Unsupported",
    "elementwise",
    "general",
    "linear",
    "nondifferentiable",
]

Rule = Callable[..., Any]
NONE, SPEC, VALUE = 0, 1, 2  # how much of a value the backward pass reads
_RAW = (np.ndarray, np.generic, int, float, complex, types.NoneType)


class Unsupported:
    """A deliberate gap in the table, with its reason."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        return f"UNSUPPORTED({self.reason!r})"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(self.reason)


UNSUPPORTED = Unsupported
NOT_LOWERED = Unsupported("no native lowering: the NumPy evaluation is called")
TABLE: Final[dict[str, Op]] = {}


class Op:
    """One operation.

    Fields
    ------
    name        its key in `TABLE`.
    evaluate    NumPy evaluation, `(*arrays, **params) -> array`, or a tuple of arrays.
    shape       shape rule, `(*specs, **params) -> Spec`, or a list of them.
    family      'elementwise', 'linear', 'general' or 'nondifferentiable'.
    rules       the partials or transposes, one per operand (None: no derivative there), or the one `vjp`.
    jvp         the forward rule of a *general* op.
    kernel      all cotangents of an *elementwise* op at once, `(g, y, *xs, **params) -> tuple`, in raw NumPy:
                fewer passes over long arrays than the partials take. It sees plain arrays, all of the shape of g, and
                gives None for what it leaves to the partials, which remain the definition.
    joint       a linear op that is linear in all its operands together (add, concatenate) and not in each (matmul).
    batch       batching rule, `(size, args, batched, **params) -> result`, the batch being axis 0 throughout.
    lower       native lowering, see `ops.lowering`.
    several     it has several results: `evaluate` gives a tuple, `shape` a list, and the cotangent is a tuple, with
                None where nothing arrived.
    masks       it selects: the cotangent of what it did not take is an exact 0, and stays 0 whatever the slopes further
                back are (infinite, NaN). The backward walk sees to that. `plain`: neither `several` nor `masks`.
    samples     inputs that generate its tests; one at least for each branch of its parameters.
    doc         shapes and behaviour at kinks.
    title       its name in the graph, as PyTorch's: `MulBackward0`.
    view        its result shares memory with operand 0; then `writeback(parent, new, **params)` gives the call
                `(op, args, params)` whose result is the operand `parent` with `new` in the place of the view.
    """

    __slots__ = (
        "_needs",
        "batch",
        "doc",
        "evaluate",
        "family",
        "is_elementwise",
        "joint",
        "jvp",
        "kernel",
        "lower",
        "masks",
        "name",
        "plain",
        "rules",
        "samples",
        "several",
        "shape",
        "title",
        "variadic",
        "view",
        "writeback",
    )

    def __init__(
        self,
        name: str,
        evaluate: Rule,
        *,
        family: str,
        shape: Rule,
        batch: Rule,
        samples: Sequence[Any],
        doc: str,
        rules: tuple[Rule | None, ...] | Rule | Unsupported,
        jvp: Rule | Unsupported | None = None,
        joint: bool = False,
        lower: Lowering | Unsupported = NOT_LOWERED,
        title: str | None = None,
        writeback: Rule | None = None,
        masks: bool = False,
        several: bool = False,
        kernel: Rule | None = None,
    ) -> None:
        if name in TABLE:
            raise ValueError(f"op {name!r} is in the table already")
        self.name = name
        self.evaluate = evaluate
        self.family = family
        self.is_elementwise = family == "elementwise" or shape is elementwise_shape or shape is _predicate_shape
        self.shape = shape
        self.batch = batch
        self.samples = tuple(samples)
        self.doc = inspect.cleandoc(doc)
        self.rules = rules
        self.jvp = jvp
        self.kernel = kernel
        self.joint = joint
        self.lower = lower
        self.masks = masks
        self.several = several
        self.plain = not masks and not several
        self.title = title or "".join(part.capitalize() for part in name.split("_")) + "Backward0"
        self.writeback = writeback
        self.view = writeback is not None
        self.variadic = not isinstance(rules, tuple | Unsupported) and _is_variadic(rules)
        self._needs: dict[tuple[bool, ...], tuple[int, ...]] = {}
        TABLE[name] = self

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return TABLE.__getitem__, (self.name,)

    def titled(self, title: str) -> Op:
        """This op under another title: for functions that PyTorch's graph tells apart and the table does not."""
        twin = object.__new__(Op)
        for field in Op.__slots__:
            setattr(twin, field, getattr(self, field))
        twin.title = title
        return twin

    def __call__(self, *args: Any, **params: Any) -> Any:
        """Apply the op at the outermost level present among `args`; plain arrays are evaluated at once."""
        for arg in args:
            if not isinstance(arg, _RAW):
                result = arg.eager(self, args, params)
                if result is not NotImplemented:
                    return result
                break
        else:
            return self.evaluate(*args, **params)
        top, level = None, -2
        for arg in args:
            if not isinstance(arg, _RAW):
                found = arg.level
                if found > level:
                    top, level = arg, found
        assert top is not None
        if self.is_elementwise:
            args = _align(args)
        return top.bind(self, args, params, level)

    def needs(self, tracked: tuple[bool, ...]) -> tuple[int, ...]:
        """What the backward pass reads of the result and of each operand, if these operands are tracked."""
        try:
            return self._needs[tracked]
        except KeyError:
            self._needs[tracked] = found = self._find_needs(tracked)
            return found

    def _find_needs(self, tracked: tuple[bool, ...]) -> tuple[int, ...]:
        needs = [NONE] * (1 + len(tracked))
        if isinstance(self.rules, tuple):
            for i, rule in enumerate(self.rules):
                if rule is None or not tracked[i]:
                    continue
                reads = _reads(rule, 1 + len(tracked))
                if self.family == "linear":  # in all operands together, or in this one
                    mine = slice(1, None) if self.joint else slice(1 + i, 2 + i)
                    reads[mine] = [min(n, SPEC) for n in reads[mine]]
                needs = [max(a, b) for a, b in zip(needs, reads, strict=True)]
        elif not isinstance(self.rules, Unsupported):
            needs = _reads(self.rules, 1 + len(tracked))
            if self.family == "linear" and self.joint:
                needs[1:] = [min(n, SPEC) if t else n for n, t in zip(needs[1:], tracked, strict=True)]
            elif self.family == "linear":  # multilinear: an operand's own cotangent reads the others
                alone = tracked.count(True) == 1
                needs[1:] = [min(n, SPEC) if t and alone else n for n, t in zip(needs[1:], tracked, strict=True)]
        return tuple(needs)


def _parameters(rule: Rule) -> list[inspect.Parameter]:
    return list(inspect.signature(rule).parameters.values())


def _is_variadic(rule: Rule) -> bool:
    return any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in _parameters(rule))


def _reads(rule: Rule, count: int) -> list[int]:
    """For a rule `(g, y, *xs, **params)`: VALUE where it reads the result and the operands, NONE where it doesn't."""
    reads: list[int] = []
    for parameter in _parameters(rule)[1:]:
        need = NONE if parameter.name.startswith("_") else VALUE
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            reads += [need] * (count - len(reads))
        reads.append(need)
    return reads[:count]


def _align(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Operands of an elementwise op broadcast to one shape; Python numbers stay as they are."""
    shapes = [a.shape for a in args if not isinstance(a, int | float | complex)]
    if all(shape == shapes[0] for shape in shapes):
        return args
    shape = broadcast_shapes(*shapes)
    widen = TABLE["broadcast_to"]
    return tuple(a if isinstance(a, int | float | complex) or a.shape == shape else widen(a, shape=shape) for a in args)


# Shape rules and batching rules that a family shares.


def _specs(args: tuple[Any, ...]) -> list[Spec]:
    return [a for a in args if isinstance(a, Spec)]


def elementwise_shape(*args: Any, **params: Any) -> Spec:
    specs = _specs(args)
    dtypes = [a.dtype if isinstance(a, Spec) else a for a in args]
    return Spec(broadcast_shapes(*(s.shape for s in specs)), np.result_type(*dtypes))


def _predicate_shape(*args: Any, **params: Any) -> Spec:
    return Spec(broadcast_shapes(*(s.shape for s in _specs(args))), np.dtype(bool))


def _elementwise_batch(op: Op) -> Rule:
    """Elementwise ops act on the batch as on any axis; an operand without it gets a broadcast axis in front."""

    def rule(size: int, args: tuple[Any, ...], batched: tuple[bool, ...], **params: Any) -> Any:
        return op(*args, **params)  # operands have one shape without the batch, so alignment adds the batch axis

    return rule


def elementwise(
    name: str,
    evaluate: Rule,
    *partials: Rule | None,
    samples: Sequence[Any],
    doc: str,
    title: str | None = None,
    shape: Rule = elementwise_shape,
    masks: bool = False,
    kernel: Rule | None = None,
    lower: Lowering | Unsupported = NOT_LOWERED,
) -> Op:
    """Enter an elementwise op: `partials[i](g, y, *xs, **params)` is g·∂y/∂x_i."""
    op = Op(
        name,
        evaluate,
        family="elementwise",
        shape=shape,
        batch=UNSUPPORTED("set below"),
        samples=samples,
        doc=doc,
        rules=partials,
        title=title,
        masks=masks,
        kernel=kernel,
        lower=lower,
    )
    op.batch = _elementwise_batch(op)
    return op


def linear(
    name: str,
    evaluate: Rule,
    *transposes: Rule | None,
    transpose: Rule | None = None,
    shape: Rule,
    batch: Rule,
    samples: Sequence[Any],
    doc: str,
    joint: bool = False,
    several: bool = False,
    title: str | None = None,
    writeback: Rule | None = None,
    lower: Lowering | Unsupported = NOT_LOWERED,
) -> Op:
    """Enter an op that is linear in each operand that has a transpose (or in all of them together: `joint`).

    A variadic op gives one `transpose(g, y, *xs, **params)` for all operands, returning a tuple.
    """
    return Op(
        name,
        evaluate,
        family="linear",
        shape=shape,
        batch=batch,
        samples=samples,
        doc=doc,
        rules=transpose if transpose is not None else transposes,
        joint=joint,
        several=several,
        title=title,
        writeback=writeback,
        lower=lower,
    )


def general(
    name: str,
    evaluate: Rule,
    *,
    vjp: Rule | tuple[Rule | None, ...] | Unsupported,
    jvp: Rule | Unsupported,
    shape: Rule,
    batch: Rule,
    samples: Sequence[Any],
    doc: str,
    title: str | None = None,
    masks: bool = False,
    several: bool = False,
    lower: Lowering | Unsupported = NOT_LOWERED,
) -> Op:
    """Enter an op by a `vjp(g, y, *xs, **params)` and a `jvp(tangents, y, *xs, **params)`.

    The vjp gives all cotangents at once, or is a tuple of rules, one per operand, run only where one is wanted.
    """
    return Op(
        name,
        evaluate,
        family="general",
        shape=shape,
        batch=batch,
        samples=samples,
        doc=doc,
        rules=vjp,
        jvp=jvp,
        title=title,
        masks=masks,
        several=several,
        lower=lower,
    )


def nondifferentiable(
    name: str,
    evaluate: Rule,
    *,
    samples: Sequence[Any],
    doc: str,
    shape: Rule | None = None,
    batch: Rule | None = None,
    lower: Lowering | Unsupported = NOT_LOWERED,
) -> Op:
    """Enter an op whose result is not a function to differentiate (a comparison, an index); elementwise if no shape."""
    op = Op(
        name,
        evaluate,
        family="nondifferentiable",
        shape=shape or _predicate_shape,
        batch=batch or UNSUPPORTED("set below"),
        samples=samples,
        doc=doc,
        rules=UNSUPPORTED(f"{name} has no derivative: its result does not vary continuously with its operands"),
        lower=lower,
    )
    if batch is None:
        op.batch = _elementwise_batch(op)
    return op


def same_shape(x: Spec, **params: Any) -> Spec:
    """The shape rule of an op whose result looks like its operand."""
    return spec_of(x)
