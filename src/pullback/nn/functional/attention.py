"""Attention: each query's mean of the values, weighted by how well the keys match it [Vaswani et al., 2017]."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from pullback.nn.functional.dropout import dropout
from pullback.nn.functional.layer import linear
from pullback.ops import nn
from pullback.ops.compare import equal
from pullback.ops.elementwise import where
from pullback.ops.reduce import all_
from pullback.tape.node import new_handle
from pullback.tensor.dispatch import as_handle
from pullback.tensor.joining import cat
from pullback.tensor.linear import matmul

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


def safe_softmax(x: Any, dim: int = -1) -> Any:
    """softmax(x) along `dim`, and 0 instead of NaN where a whole slice is -inf."""
    axis = dim % len(x.shape)
    nothing = all_(equal(x, -math.inf), axis=(axis,), keepdims=True)
    return where(nothing, 0.0, nn.softmax(where(nothing, 0.0, x), axis=axis))


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(scale · query @ keyᵀ + mask) @ value: of queries (..., L, E), keys (..., S, E), values (..., S, V).

    `attn_mask` broadcasts to (..., L, S): a boolean one is True where a query may see a key, others are added. A query
    that may see none gets 0. `is_causal` lets query i see the keys up to i. `scale` is 1/√E unless given. `enable_gqa`
    repeats the heads (axis -3) of keys and values to those of the queries. `dropout_p` drops weights, also outside of
    training. Raises `RuntimeError` for both a mask and `is_causal`, or shapes or dtypes that don't fit.

    >>> import pullback as pb
    >>> x = pb.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> pb.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)
    tensor([[1.0000, 0.0000],
            [0.3302, 0.6698]])
    """
    q, k, v = (as_handle(x) for x in (query, key, value))
    _check_products(q, k, v)
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1])
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    scores = matmul(q * scale, k.transpose(-2, -1))
    if is_causal:
        if attn_mask is not None:
            raise RuntimeError(
                "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
            )
        attn_mask = new_handle(np.tri(q.shape[-2], k.shape[-2], dtype=np.bool_))
    if attn_mask is None:
        weights = nn.softmax(scores, axis=len(scores.shape) - 1)
    else:
        weights = safe_softmax(_masked(scores, as_handle(attn_mask)))
    if dropout_p:
        weights = dropout(weights, dropout_p)
    return matmul(weights, v)


def _check_products(q: Any, k: Any, v: Any) -> None:
    dtypes = [x.dtype for x in (q, k, v)]
    if len(set(dtypes)) > 1:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{dtypes[0]} key.dtype: {dtypes[1]} and value.dtype: {dtypes[2]} instead."
        )
    if min(len(x.shape) for x in (q, k, v)) < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim(): "
            f"{len(q.shape)}, key.dim(): {len(k.shape)} and value.dim(): {len(v.shape)} instead."
        )


def _masked(scores: Any, mask: Any) -> Any:
    if mask._value.dtype == np.bool_:
        return where(mask, scores, -math.inf)
    if mask._value.dtype.kind != "f":
        raise RuntimeError(f"Expected attn_mask dtype to be bool or float, but got {mask.dtype}")
    return scores + mask


# Several heads, with their projections


def additive_mask(mask: Any, name: str, dtype: Any, other: Any = None, other_name: str = "") -> Any:
    """A mask to add to the scores: a boolean one, True for what is hidden, becomes 0 and -inf; others stay.

    Raises `AssertionError` for masks of integers; warns if `other`, a mask too, is of another dtype.
    """
    if mask is None:
        return None
    mask = as_handle(mask)
    kind = mask._value.dtype.kind
    if kind not in "bf":
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if other is not None and other.dtype != mask.dtype:
        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    return where(mask, -math.inf, np.zeros((), dtype)) if kind == "b" else mask


def _check_ranks(query: Any, key: Any, value: Any, padding: Any, mask: Any, heads: int) -> bool:
    """Whether there is a batch. Raises `AssertionError` for operands of other ranks."""
    rank = len(query.shape)
    if rank not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {rank}-D query tensor")
    which = f"For {'batched' if rank == 3 else 'unbatched'} ({rank}-D) `query`, expected"
    if len(key.shape) != rank or len(value.shape) != rank:
        raise AssertionError(
            f"{which} `key` and `value` to be {rank}-D but found {len(key.shape)}-D and {len(value.shape)}-D tensors "
            "respectively"
        )
    if padding is not None and len(padding.shape) != rank - 1:
        raise AssertionError(
            f"{which} `key_padding_mask` to be `None` or {rank - 1}-D but found {len(padding.shape)}-D tensor instead"
        )
    if mask is not None:
        if len(mask.shape) not in (2, 3):
            raise AssertionError(
                f"{which} `attn_mask` to be `None`, 2-D or 3-D but found {len(mask.shape)}-D tensor instead"
            )
        expected = (heads, query.shape[0], key.shape[0])
        if rank == 2 and len(mask.shape) == 3 and tuple(mask.shape) != expected:
            raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {mask.shape}")
    return rank == 3


def multi_head_attention_forward(
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    static_k: Any = None,
    static_v: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:
    """Attention of `num_heads` heads, between projections of its inputs and of its results.

    Queries are (L, n, E), keys and values (S, n, E), or all without n. The result is (L, n, E) and, if `need_weights`,
    the heads' mean weights (n, L, S), or all of them (n, heads, L, S) without `average_attn_weights`; else None.
    `in_proj_weight` (3·E, E) holds the projections of query, key and value, unless `use_separate_proj_weight`.
    `bias_k` and `bias_v` are a further key and value, `add_zero_attn` adds one of zeros; `static_k` and `static_v`
    (n·heads, S, E/heads) stand in for the projected ones. Masks: `key_padding_mask` (n, S) and `attn_mask` (L, S) or
    (n·heads, L, S) are True for what is hidden, or are added to the scores. Raises `AssertionError` or `RuntimeError`,
    as PyTorch, for operands that don't fit.
    """
    query, key, value = (as_handle(x) for x in (query, key, value))
    batched = _check_ranks(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = (x.unsqueeze(1) for x in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, count, width = query.shape
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    dtype = query._value.dtype
    padding = additive_mask(key_padding_mask, "key_padding_mask", dtype, attn_mask, "attn_mask")
    causal = is_causal and padding is None and not need_weights
    mask = None if causal else additive_mask(attn_mask, "attn_mask", dtype)
    if width != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}")
    if width % num_heads:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight
    q, k, v = _projected(query, key, value, weights, in_proj_bias)
    if mask is not None:
        mask = _by_head(mask, (length, key.shape[0]), count, num_heads)
    if (bias_k is None) != (bias_v is None):
        raise AssertionError(
            "bias_k is set but bias_v is None" if bias_v is None else "bias_v is set but bias_k is None"
        )
    if bias_k is not None:
        for name, static in (("key", static_k), ("value", static_v)):
            if static is not None:
                raise AssertionError(f"bias cannot be added to static {name}.")
        k, v = (cat([x, b.expand(1, count, width)]) for x, b in ((k, bias_k), (v, bias_v)))
    size = width // num_heads
    q = _heads(q, num_heads)
    k = _heads(k, num_heads) if static_k is None else _static("static_k", static_k, count, num_heads, size)
    v = _heads(v, num_heads) if static_v is None else _static("static_v", static_v, count, num_heads, size)
    if add_zero_attn:
        zeros = new_handle(np.zeros((count, num_heads, 1, size), dtype))
        k, v = cat([k, zeros], 2), cat([v, zeros], 2)
    more = k.shape[2] - key.shape[0] if static_k is None else int(bias_k is not None) + add_zero_attn
    mask, padding = _wider(mask, more), _wider(padding, more)
    if padding is not None:
        _check_padding(padding, count, k.shape[2])
        padding = padding.reshape(count, 1, 1, k.shape[2])
        mask = padding if mask is None else mask + padding
    drop = dropout_p if training else 0.0
    if need_weights:
        scores = matmul(q * (1 / math.sqrt(size)), k.transpose(-2, -1))
        found = dropout(nn.softmax(scores if mask is None else scores + mask, axis=3), drop)
        y = matmul(found, v)
    else:
        found = None
        y = scaled_dot_product_attention(q, k, v, mask, drop, causal)
    y = linear(y.permute(2, 0, 1, 3).reshape(length, count, width), out_proj_weight, out_proj_bias)
    if found is not None and average_attn_weights:
        found = found.mean(1)
    if batched:
        return y, found
    return y.squeeze(1), None if found is None else found.squeeze(0)


def _projected(query: Any, key: Any, value: Any, weights: Any, bias: Any) -> list[Any]:
    """Query, key and value through their projections; what is the same tensor at once."""
    if isinstance(weights, tuple):
        if tuple(key.shape[:2]) != tuple(value.shape[:2]):
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}"
            )
        for name, weight in zip("qkv", weights, strict=True):
            if weight is None:
                raise AssertionError(f"use_separate_proj_weight is True but {name}_proj_weight is None")
        biases = [None] * 3 if bias is None else bias.chunk(3)
        return [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
    if weights is None:
        raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
    if tuple(key.shape) != tuple(value.shape):
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
    if query is key is value:
        return list(linear(query, weights, bias).chunk(3, -1))
    biases = [None] * 3 if bias is None else bias.chunk(3)
    return [linear(x, w, b) for x, w, b in zip((query, key, value), weights.chunk(3), biases, strict=True)]


def _heads(x: Any, heads: int) -> Any:
    """(L, n, E) as (n, heads, L, E/heads)."""
    length, count, width = x.shape
    return x.reshape(length, count, heads, width // heads).permute(1, 2, 0, 3)


def _static(name: str, x: Any, count: int, heads: int, size: int) -> Any:
    for axis, expected in ((0, count * heads), (2, size)):
        if x.shape[axis] != expected:
            raise AssertionError(f"expecting {name}.size({axis}) of {expected}, but got {x.shape[axis]}")
    return x.reshape(count, heads, x.shape[1], size)


def _by_head(mask: Any, size: tuple[int, int], count: int, heads: int) -> Any:
    """A mask (L, S) or (n·heads, L, S) to be added to scores (n, heads, L, S)."""
    rank = len(mask.shape)
    expected = size if rank == 2 else (count * heads, *size)
    if tuple(mask.shape) != expected:
        raise RuntimeError(f"The shape of the {rank}D attn_mask is {mask.shape}, but should be {expected}.")
    return mask if rank == 2 else mask.reshape(count, heads, *size)


def _wider(mask: Any, more: int) -> Any:
    """A mask that hides none of so many further keys."""
    if mask is None or not more:
        return mask
    return cat([mask, new_handle(np.zeros((*mask.shape[:-1], more), mask._value.dtype))], -1)


def _check_padding(padding: Any, count: int, keys: int) -> None:
    for axis, expected in enumerate((count, keys)):
        if padding.shape[axis] != expected:
            raise AssertionError(
                f"Expected key_padded_mask.shape[{axis}] to be {expected}, but got {padding.shape[axis]}"
            )
