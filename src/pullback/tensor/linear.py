"""Products of tensors, under PyTorch's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.ops import shape as s
from pullback.ops.cast import conj
from pullback.ops.einsum import contract
from pullback.ops.elementwise import add, sub
from pullback.ops.elementwise import mul as mul_op
from pullback.ops.products import dot as dot_op
from pullback.ops.products import matmul as matmul_op
from pullback.ops.products import mm as mm_op
from pullback.ops.products import mv as mv_op
from pullback.tape.memory import keep_both
from pullback.tape.node import Handle, LeafMark, Node, make, set_node, wrap
from pullback.tape.state import modes
from pullback.tensor.dispatch import as_handle, to_dtype
from pullback.tensor.rearranging import diagonal
from pullback.values.dtype import as_dtype, promote
from pullback.values.shape import broadcast_shapes, normalize_axis

__all__ = [
    "addbmm",
    "addmm",
    "addmv",
    "addr",
    "baddbmm",
    "bmm",
    "chain_matmul",
    "cross",
    "dot",
    "einsum",
    "ger",
    "inner",
    "kron",
    "matmul",
    "mm",
    "mv",
    "outer",
    "tensordot",
    "trace",
    "vdot",
]

_NAMES = {"float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long", "int32": "Int", "bool": "Bool"}
_mm_needs = {flags: mm_op.needs(flags) for flags in ((True, False), (False, True), (True, True))}
_vdot = dot_op.titled("VdotBackward0")
_row_times = s.reshape.titled("SqueezeBackward4")
_many = s.reshape.titled("UnsafeViewBackward0")
_addmm, _addmv, _addr, _addbmm, _baddbmm = (
    add.titled(f"{name}Backward0") for name in ("Addmm", "Addmv", "Addr", "Addbmm", "Baddbmm")
)
_cross = sub.titled("LinalgCrossBackward0")
_trace = s.sum_.titled("TraceBackward0")


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(x._value.shape)


def _pair(a: Any, b: Any, name: str) -> tuple[Any, Any]:
    """Both operands as handles of one dtype: an array beside a tensor is promoted with it.

    Raises `RuntimeError` for tensors of different dtypes.
    """
    mixed = modes.numpy or not (isinstance(a, Handle) and isinstance(b, Handle))
    x, y = as_handle(a), as_handle(b)
    dx, dy = x._value.dtype, y._value.dtype
    if dx == dy:
        return x, y
    if mixed:
        dtype = np.result_type(dx, dy) if modes.numpy else promote((dx, 1, None), (dy, 1, None))
        return to_dtype(x, dtype), to_dtype(y, dtype)
    names = [_NAMES.get(d.name, d.name) for d in (dx, dy)]
    if name == "dot":
        raise RuntimeError(f"dot : expected both vectors to have same dtype, but found {names[0]} and {names[1]}")
    raise RuntimeError(
        f"expected m1 and m2 to have the same dtype, but got: {as_dtype(dx).name} != {as_dtype(dy).name}. "
        "Convert one with .to(other.dtype)."
    )


# Matrices and vectors


def mm(input: Any, mat2: Any) -> Any:
    """The product of two matrices, (n, m) and (m, p).

    Raises `RuntimeError` for other shapes, or unequal dtypes.
    """
    a, b = _pair(input, mat2, "mm")
    left, right = _shape(a), _shape(b)
    if len(left) != 2:
        raise RuntimeError("self must be a matrix")
    if len(right) != 2:
        raise RuntimeError("mat2 must be a matrix")
    _check_inner("mat1 and mat2", left, right)
    return mm_op(a, b)


def _check_inner(who: str, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    if left[-1] != right[-2]:
        raise RuntimeError(f"{who} shapes cannot be multiplied ({left[-2]}x{left[-1]} and {right[-2]}x{right[-1]})")


def mv(input: Any, vec: Any) -> Any:
    """The product of a matrix (n, m) and a vector (m)."""
    a, b = _pair(input, vec, "mv")
    left, right = _shape(a), _shape(b)
    if len(left) != 2 or len(right) != 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got {len(left)}, {len(right)}: mv takes a matrix and a vector"
        )
    if left[1] != right[0]:
        raise RuntimeError(f"size mismatch, got input ({left[0]}), mat ({left[0]}x{left[1]}), vec ({right[0]})")
    return mv_op(a, b)


def dot(input: Any, tensor: Any) -> Any:
    """The sum of products of two vectors' elements. Raises `RuntimeError` for other shapes."""
    return _dotted(dot_op, *_pair(input, tensor, "dot"))


def _dotted(op: Any, a: Any, b: Any) -> Any:
    left, right = _shape(a), _shape(b)
    if len(left) != 1 or len(right) != 1:
        raise RuntimeError(f"1D tensors expected, but got {len(left)}D and {len(right)}D tensors")
    if left != right:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{left[0]}] and src [{right[0]}] to have the same number of "
            f"elements, but got {left[0]} and {right[0]} elements respectively"
        )
    return op(a, b)


def vdot(input: Any, other: Any) -> Any:
    """`dot` with the first vector conjugated."""
    a, b = _pair(input, other, "dot")
    return _dotted(_vdot, conj(a) if a._value.dtype.kind == "c" else a, b)


def bmm(input: Any, mat2: Any) -> Any:
    """The products of two batches of matrices, (b, n, m) and (b, m, p)."""
    a, b = _pair(input, mat2, "bmm")
    left, right = _shape(a), _shape(b)
    if len(left) != 3 or len(right) != 3:
        raise RuntimeError("batch1 must be a 3D tensor" if len(left) != 3 else "batch2 must be a 3D tensor")
    if left[0] != right[0] or left[2] != right[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{left[0]}, {left[2]}] but got: "
            f"[{right[0]}, {right[1]}]."
        )
    return matmul_op(a, b)


def matmul(input: Any, other: Any) -> Any:
    """The matrix product: of vectors a number, of a matrix and a vector a vector, of arrays the products of their last
    two dimensions, the others broadcast.

    Both have one dtype. Raises `RuntimeError` for shapes that don't fit, worded as PyTorch's.

    >>> import pullback as pb
    >>> a = pb.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> a @ a, a @ pb.tensor([1.0, 1.0])
    (tensor([[ 7., 10.],
            [15., 22.]]), tensor([3., 7.]))
    """
    if modes.fast == 2 and isinstance(input, Handle) and isinstance(other, Handle):
        va, vb = input._value, other._value
        if va.ndim == 2 and vb.ndim == 2 and va.dtype is vb.dtype and va.shape[1] == vb.shape[0]:
            result = make(Handle.maker)
            result._value = va.dot(vb)  # half the overhead of matmul
            na, nb = input._node, other._node
            if na is None and nb is None:
                return result
            _, need_a, need_b = _mm_needs[na is not None, nb is not None]
            edges: Any = (input if type(na) is LeafMark else na, other if type(nb) is LeafMark else nb)
            saved, versions = keep_both(None, input if need_a else None, other if need_b else None)
            result._node = set_node(make(Node), mm_op, edges, saved, versions)
            return result
    a, b = _pair(input, other, "matmul")
    left, right = _shape(a), _shape(b)
    m, n = len(left), len(right)
    if not m or not n:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {m}D and {n}D")
    if m == 1 and n == 1:
        return _dotted(dot_op, a, b)
    if n == 1:
        if left[-1] != right[0]:
            raise RuntimeError(f"size mismatch, got input ({left[-2]}), mat ({left[-2]}x{left[-1]}), vec ({right[0]})")
        if m == 2:
            return mv_op(a, b)
        y = mv_op(s.reshape(a, shape=(int(np.prod(left[:-1])), left[-1])), b)
        return _many(y, shape=left[:-1])
    if m == 1:
        _check_inner("mat1 and mat2", (1, *left), right)
        y = (mm_op if n == 2 else matmul_op)(s.reshape(a, shape=(1, *left)), b)
        return (_row_times if n == 2 else _many)(y, shape=(*right[:-2], right[-1]))
    _check_inner("mat1 and mat2", left, right)
    if m == 2 and n == 2:
        return mm_op(a, b)
    if n == 2:  # one product of tall matrices beats many small ones
        y = mm_op(s.reshape(a, shape=(int(np.prod(left[:-1])), left[-1])), b)
        return _many(y, shape=(*left[:-1], right[-1]))
    try:
        broadcast_shapes(left[:-2], right[:-2])
    except ValueError:
        raise RuntimeError(
            f"matmul: the batch dimensions {list(left[:-2])} and {list(right[:-2])} can't be broadcast together"
        ) from None
    return matmul_op(a, b)


def outer(input: Any, vec2: Any) -> Any:
    """The matrix `input[i] * vec2[j]` of two vectors."""
    a, b = as_handle(input), as_handle(vec2)
    for name, x in (("self", a), ("vec2", b)):
        if len(_shape(x)) != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {len(_shape(x))}-D")
    dtype = promote((a._value.dtype, 1, None), (b._value.dtype, 1, None))
    column = s.reshape(to_dtype(a, dtype), shape=(*_shape(a), 1))
    return mul_op(column, to_dtype(b, dtype))


ger = outer


def inner(input: Any, other: Any) -> Any:
    """Sums of products over the last dimensions of both; with a number, the product.

    Raises `RuntimeError` if the last dimensions differ.
    """
    a, b = _pair(input, other, "inner")
    left, right = _shape(a), _shape(b)
    if not left or not right:
        return mul_op(a, b)
    if left[-1] != right[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes {list(left)} and {list(right)}"
        )
    return tensordot(a, b, ([-1], [-1]))


# Sums of products over any dimensions


def einsum(equation: str, *operands: Any) -> Any:
    """Sums of products over named dimensions (Einstein's convention), with ellipsis and implicit output.

    Operands are tensors of one dtype, or one list of them. Raises `RuntimeError` if the equation does not fit.

    >>> import pullback as pb
    >>> pb.einsum("ij,ij->i", pb.ones(2, 3), pb.ones(2, 3))
    tensor([3., 3.])
    """
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    found = [as_handle(x) for x in operands]
    dtypes = {x._value.dtype for x in found}
    if len(dtypes) > 1:
        if all(isinstance(x, Handle) for x in operands) and not modes.numpy:
            names = " != ".join(sorted(as_dtype(d).name for d in dtypes))
            raise RuntimeError(f"einsum(): expected operands of one dtype, but got: {names}")
        dtype = promote(*((x._value.dtype, 1, None) for x in found))
        found = [to_dtype(x, dtype) for x in found]
    try:
        result = contract(equation, *found)
    except ValueError as error:
        raise RuntimeError(str(error).replace("einsum:", "einsum():", 1)) from None
    return _own(result, found)


def _own(result: Any, operands: Sequence[Any]) -> Any:
    """`result` in memory of its own: the sum over nothing is a view of its operand, and would be written with it."""
    value = result._value
    if any(result is x for x in operands):
        result = s.reshape(result, shape=_shape(result))
    if type(value) is np.ndarray and value.base is not None:
        result._value = value.copy()
    return result


def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """Sums of products over pairs of dimensions: the last `dims` of `a` and the first of `b`, or the dimensions in two
    lists.

    Raises `RuntimeError` if the lists or the sizes differ.
    """
    x, y = _pair(a, b, "tensordot")
    left, right = _shape(x), _shape(y)
    if isinstance(dims, int):
        if dims < 0 or dims > min(len(left), len(right)):
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        dims = (range(len(left) - dims, len(left)), range(dims))
    over_a, over_b = ([normalize_axis(int(d), len(n)) for d in ds] for ds, n in zip(dims, (left, right), strict=True))
    if len(over_a) != len(over_b):
        raise RuntimeError("both dimension lists should have same length")
    for i, j in zip(over_a, over_b, strict=True):
        if 1 in (left[i], right[j]) and left[i] != right[j]:  # a dimension of size 1 stands for every entry
            x, y = (z if z.shape[d] == 1 else s.sum_(z, axis=(d,), keepdims=True) for z, d in ((x, i), (y, j)))
            left, right = _shape(x), _shape(y)
        if left[i] != right[j]:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {left[i]} in dim {i} and second has size "
                f"{right[j]} in dim {j}"
            )
    free_a = [i for i in range(len(left)) if i not in over_a]
    free_b = [i for i in range(len(right)) if i not in over_b]
    rows, columns = [left[i] for i in free_a], [right[i] for i in free_b]
    size = int(np.prod([left[i] for i in over_a]))
    x = s.reshape(_ordered(x, (*free_a, *over_a)), shape=(int(np.prod(rows)), size))
    y = s.reshape(_ordered(y, (*over_b, *free_b)), shape=(size, int(np.prod(columns))))
    return s.reshape(mm_op(x, y), shape=(*rows, *columns))


def _ordered(x: Any, axes: tuple[int, ...]) -> Any:
    return x if axes == tuple(range(len(axes))) else s.transpose(x, axes=axes)


# Products and sums together


def _added(op: Any, input: Any, product: Any, beta: complex, alpha: complex) -> Any:
    """beta · input + alpha · product."""
    if alpha != 1:
        product = product * alpha
    x, p = _pair(input, product, "add")
    if broadcast_shapes(_shape(x), _shape(p)) != _shape(p):
        raise RuntimeError(
            f"The expanded size of the tensor {list(_shape(p))} must match the existing size {list(_shape(x))}"
        )
    if beta == 0:
        return product
    return op(x if beta == 1 else x * beta, p)


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: complex = 1, alpha: complex = 1) -> Any:
    """beta · input + alpha · (mat1 @ mat2), input broadcast."""
    return _added(_addmm, input, mm(mat1, mat2), beta, alpha)


def addmv(input: Any, mat: Any, vec: Any, *, beta: complex = 1, alpha: complex = 1) -> Any:
    """beta · input + alpha · (mat @ vec), input broadcast."""
    return _added(_addmv, input, mv(mat, vec), beta, alpha)


def addr(input: Any, vec1: Any, vec2: Any, *, beta: complex = 1, alpha: complex = 1) -> Any:
    """beta · input + alpha · outer(vec1, vec2), input broadcast."""
    return _added(_addr, input, outer(vec1, vec2), beta, alpha)


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: complex = 1, alpha: complex = 1) -> Any:
    """beta · input + alpha · (batch1 @ batch2) for batches of matrices, input broadcast."""
    return _added(_baddbmm, input, bmm(batch1, batch2), beta, alpha)


def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: complex = 1, alpha: complex = 1) -> Any:
    """`beta · input + alpha · Σ batch1[i] @ batch2[i]` for stacks of matrices."""
    return _added(_addbmm, input, s.sum_(bmm(batch1, batch2), axis=(0,), keepdims=False), beta, alpha)


def chain_matmul(*matrices: Any) -> Any:
    """The product of several matrices, in the order of multiplications that costs least.

    Source: Cormen et al., Introduction to Algorithms, 15.2.
    """
    found = list(matrices[0]) if len(matrices) == 1 and isinstance(matrices[0], list | tuple) else list(matrices)
    if len(found) < 3:
        return found[0] if len(found) == 1 else mm(*found)
    sizes = [_shape(x)[0] for x in found] + [_shape(found[-1])[1]]
    best: dict[tuple[int, int], tuple[int, int]] = {(i, i): (0, i) for i in range(len(found))}
    for length in range(1, len(found)):
        for i in range(len(found) - length):
            j = i + length
            best[i, j] = min(
                (best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )

    def product(i: int, j: int) -> Any:
        if i == j:
            return found[i]
        k = best[i, j][1]
        return mm(product(i, k), product(k + 1, j))

    return product(0, len(found) - 1)


def kron(input: Any, other: Any) -> Any:
    """The Kronecker product: each element of `input` times all of `other`, in blocks."""
    a, b = as_handle(input), as_handle(other)
    left, right = _shape(a), _shape(b)
    rank = max(len(left), len(right))
    left, right = (1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right
    dtype = promote((a._value.dtype, len(_shape(a)), None), (b._value.dtype, len(_shape(b)), None))
    x = s.reshape(to_dtype(a, dtype), shape=tuple(n for size in left for n in (size, 1)))
    y = s.reshape(to_dtype(b, dtype), shape=tuple(n for size in right for n in (1, size)))
    return _many(mul_op(x, y), shape=tuple(m * n for m, n in zip(left, right, strict=True)))


def cross(input: Any, other: Any, dim: int | None = None, *, axis: int | None = None) -> Any:
    """The cross products of the vectors of three along `dim` (the first dimension of size 3 if not given)."""
    a, b = _pair(input, other, "cross")
    dim = axis if dim is None else dim
    shape = broadcast_shapes(_shape(a), _shape(b))
    if dim is None:
        dim = next((i for i, n in enumerate(shape) if n == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    at = normalize_axis(dim, len(shape))
    if shape[at] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {_shape(a)[at]} and {_shape(b)[at]}"
        )
    forward, back = (s.roll(a, shift=(2,), axis=(at,)), s.roll(a, shift=(1,), axis=(at,)))
    there, here = (s.roll(b, shift=(1,), axis=(at,)), s.roll(b, shift=(2,), axis=(at,)))
    return _cross(mul_op(forward, there), mul_op(back, here))


def trace(input: Any) -> Any:
    """The sum of a matrix's diagonal."""
    x = as_handle(input)
    if len(_shape(x)) != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {len(_shape(x))}")
    if x._value.dtype.kind in "biu":
        x = to_dtype(x, np.dtype(np.int64))
    return _trace(wrap(diagonal(x)), axis=(0,), keepdims=False)


class LinearMethods:
    """Products as methods of `Tensor`."""

    def __matmul__(self, other: Any) -> Any:
        return matmul(self, other) if isinstance(other, Handle | np.ndarray) else NotImplemented

    matmul = matmul
    mm = mm
    mv = mv
    bmm = bmm
    dot = dot
    vdot = vdot
    inner = inner
    outer = outer
    ger = ger
    addmm = addmm
    addmv = addmv
    addr = addr
    addbmm = addbmm
    baddbmm = baddbmm
    kron = kron
    cross = cross
    trace = trace

    def __rmatmul__(self, other: Any) -> Any:
        return matmul(other, self) if isinstance(other, Handle | np.ndarray) else NotImplemented
