"""Convolutions over one, two and three dimensions, transposed ones, and the windows they slide over."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from pullback.nn.functional.axes import each, shape_of, with_batch, without_batch
from pullback.ops import convolution as ops
from pullback.ops import windows
from pullback.ops.shape import reshape
from pullback.ops.windows import Window
from pullback.tensor.dispatch import as_handle
from pullback.values.dtype import type_name

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "fold",
    "unfold",
]

_AXES: Final = {1: ("width",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def _times(sizes: Any) -> str:
    return " x ".join(map(str, sizes))


def _operands(name: str, rank: int, input: Any, weight: Any, bias: Any) -> list[Any]:
    operands = [as_handle(v) for v in (input, weight, bias) if v is not None]
    x, w = operands[:2]
    if len(shape_of(x)) not in (rank + 1, rank + 2):
        raise RuntimeError(
            f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to {name}, "
            f"but got input of size: {list(shape_of(x))}"
        )
    if len(shape_of(w)) != rank + 2:
        raise RuntimeError(
            f"Expected {rank + 2}-dimensional weight for {name}, but got weight of size {list(shape_of(w))}"
        )
    for role, v in zip(("weight", "bias"), operands[1:], strict=False):
        if v._value.dtype != x._value.dtype:
            raise RuntimeError(
                f"Input type ({type_name(x._value.dtype).lower()}) and {role} type "
                f"({type_name(v._value.dtype).lower()}) should be the same"
            )
    return operands


def _check_steps(rank: int, stride: Any, padding: Any, dilation: Any) -> None:
    if min(padding) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilation)}")


def _check_channels(x: Any, w: Any, bias: Any, groups: int, transposed: bool) -> None:
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    shape, kind = shape_of(w), "transposed=1" if transposed else f"groups={groups}"
    if shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of "
            f"size [{list(shape)}] instead"
        )
    wanted = shape[0] if transposed else shape[1] * groups
    if shape_of(x)[1] != wanted:
        raise RuntimeError(
            f"Given {kind}, weight of size {list(shape)}, expected input{list(shape_of(x))} to have {wanted} "
            f"channels, but got {shape_of(x)[1]} channels instead"
        )
    features = shape[1] * groups if transposed else shape[0]
    if bias is not None and shape_of(bias) != (features,):
        raise RuntimeError(
            f"Given {'transposed=1, ' if transposed else ''}weight of size {list(shape)}, expected bias to be "
            f"1-dimensional with {features} elements, but got bias of size {list(shape_of(bias))} instead"
        )


def _padding(padding: Any, rank: int, kernel: Any, stride: Any, dilation: Any) -> tuple[tuple[int, int], ...]:
    if not isinstance(padding, str):
        return tuple((p, p) for p in each(padding, rank, "padding"))
    if padding == "valid":
        return ((0, 0),) * rank
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


def _convolver(rank: int) -> Callable[..., Any]:
    def convolve(
        input: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        operands = _operands(name, rank, input, weight, bias)
        operands[0], dropped = with_batch(operands[0], rank)
        x, w = operands[:2]
        stride, dilation = each(stride, rank, "stride"), each(dilation, rank, "dilation")
        kernel = shape_of(w)[2:]
        around = _padding(padding, rank, kernel, stride, dilation)
        _check_steps(rank, stride, [min(p) for p in around], dilation)
        _check_channels(x, w, operands[2] if len(operands) == 3 else None, groups, False)
        padded = [n + before + after for n, (before, after) in zip(shape_of(x)[2:], around, strict=True)]
        if any(n < d * (k - 1) + 1 for n, k, d in zip(padded, kernel, dilation, strict=True)):
            raise RuntimeError(
                f"Calculated padded input size per channel: ({_times(padded)}). Kernel size: ({_times(kernel)}). "
                "Kernel size can't be greater than actual input size"
            )
        op = ops.convolution if len(operands) == 2 else ops.biased_convolution
        return without_batch(op(*operands, window=Window(kernel, stride, around, dilation), groups=groups), dropped)

    name = convolve.__name__ = convolve.__qualname__ = f"conv{rank}d"
    axes = ", ".join(_AXES[rank])
    convolve.__doc__ = f"""`input` (n, channels, {axes}) correlated with each filter of `weight`, plus `bias`.

    `weight` is (features, channels/groups, *kernel), the result (n, features, ...). `padding` is a number
    of zeros on both sides, or "valid" (none), or "same" (the output as large as the input; stride 1 only). An input may
    lack n. Each of the `groups` of channels sees its own filters only.
    Raises `RuntimeError` for shapes, dtypes and numbers that don't fit.
    """
    return convolve


conv1d, conv2d, conv3d = (_convolver(rank) for rank in _AXES)


def _transposed_convolver(rank: int) -> Callable[..., Any]:
    def convolve(
        input: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Any:
        x, w, *b = _operands(name, rank, input, weight, bias)
        x, dropped = with_batch(x, rank)
        stride, dilation = each(stride, rank, "stride"), each(dilation, rank, "dilation")
        padding, extra = each(padding, rank, "padding"), each(output_padding, rank, "output_padding")
        _check_steps(rank, stride, padding, dilation)
        _check_channels(x, w, b[0] if b else None, groups, True)
        if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
            numbers = {"output_padding": extra, "stride": stride, "dilation": dilation}
            told = (
                f"{what}_{axis}: {n}" for what, ns in numbers.items() for axis, n in zip(_AXES[rank], ns, strict=True)
            )
            raise RuntimeError(
                "output padding must be smaller than either stride or dilation, but got " + " ".join(told)
            )
        kernel = shape_of(w)[2:]
        around = tuple((p, p - e) for p, e in zip(padding, extra, strict=True))
        size = tuple(
            (n - 1) * s - before - after + d * (k - 1) + 1
            for n, k, s, (before, after), d in zip(shape_of(x)[2:], kernel, stride, around, dilation, strict=True)
        )
        if min(size) <= 0:
            raise RuntimeError(
                f"Given input size per channel: ({_times(shape_of(x)[2:])}). Calculated output size per channel: "
                f"({_times(size)}). Output size is too small"
            )
        y = ops.convolution_input(x, w, window=Window(kernel, stride, around, dilation), groups=groups, size=size)
        if b:
            y = y + reshape(b[0], shape=(*shape_of(b[0]), *(1,) * rank))
        return without_batch(y, dropped)

    name = convolve.__name__ = convolve.__qualname__ = f"conv_transpose{rank}d"
    axes = ", ".join(_AXES[rank])
    convolve.__doc__ = f"""The transpose of `conv{rank}d` in its input: `input` (n, channels, {axes}) with `weight`.

    `weight` is (channels, features/groups, *kernel), the result (n, features, ...) with
    (m - 1)·stride - 2·padding + dilation·(kernel - 1) + output_padding + 1 elements along an axis that had m.
    Raises `RuntimeError` for shapes, dtypes and numbers that don't fit.
    """
    return convolve


conv_transpose1d, conv_transpose2d, conv_transpose3d = (_transposed_convolver(rank) for rank in _AXES)


# Windows as columns


def _window(kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> Window:
    kernel, steps, gaps = (
        each(value, 2, name)
        for value, name in ((kernel_size, "kernel_size"), (stride, "stride"), (dilation, "dilation"))
    )
    for name, values in (("kernel_size", kernel), ("stride", steps), ("dilation", gaps)):
        if min(values) <= 0:
            raise RuntimeError(f"{name.replace('_', ' ')} should be greater than zero, but got {values}")
    return Window(kernel, steps, tuple((p, p) for p in each(padding, 2, "padding")), gaps)


def _told(window: Window) -> str:
    return f"kernel_size={window.kernel}, dilation={window.dilation}, padding={tuple(p for p, _ in window.padding)}"


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """The windows of an image (n, channels, height, width) as columns: (n, channels·kernel, windows).

    Raises `RuntimeError` if no window fits.

    >>> import pullback as pb
    >>> pb.nn.functional.unfold(pb.arange(6.0).reshape(1, 1, 2, 3), 2)
    tensor([[[0., 1.],
             [1., 2.],
             [3., 4.],
             [4., 5.]]])
    """
    x = as_handle(input)
    if len(shape_of(x)) not in (3, 4):
        raise RuntimeError(f"Expected 3D or 4D (batch mode) tensor for input, but got: {list(shape_of(x))}")
    x, dropped = with_batch(x, 2)
    window = _window(kernel_size, stride, padding, dilation)
    n, channels, *size = shape_of(x)
    out = window.out(size)
    if min(out) < 1:
        raise RuntimeError(
            f"Given input with spatial size {tuple(size)}, {_told(window)}, calculated shape of the array of sliding "
            f"blocks as {out}, but its components must be at least one."
        )
    y = windows.unfold(x, window=window)
    return without_batch(reshape(y, shape=(n, channels * math.prod(window.kernel), math.prod(out))), dropped)


def fold(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """The transpose of `unfold`: columns (n, channels·kernel, windows) added up as (n, channels, *output_size).

    Raises `RuntimeError` for columns of another shape.

    >>> import pullback as pb
    >>> pb.nn.functional.fold(pb.ones(1, 4, 2), (2, 3), 2)
    tensor([[[[1., 2., 1.],
              [1., 2., 1.]]]])
    """
    x = as_handle(input)
    if len(shape_of(x)) not in (2, 3):
        raise RuntimeError(f"Expected 2D or 3D (batch mode) tensor for input, but got: {list(shape_of(x))}")
    x, dropped = with_batch(x, 1)
    window, size = _window(kernel_size, stride, padding, dilation), each(output_size, 2, "output_size")
    n, rows, cells = shape_of(x)
    held, out = math.prod(window.kernel), window.out(size)
    if rows % held:
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={rows} and kernel_size={window.kernel}."
        )
    if min(out) < 1 or math.prod(out) != cells:
        raise RuntimeError(
            f"Given output_size={size}, {_told(window)}, stride={window.stride}, expected size of input's dimension 2 "
            f"to match the calculated number of sliding blocks {_times(out).replace('x', '*')} = {math.prod(out)}, but "
            f"got input.size(2)={cells}."
        )
    y = reshape(x, shape=(n, rows // held, *window.kernel, *out))
    return without_batch(windows.fold(y, window=window, size=size), dropped)
