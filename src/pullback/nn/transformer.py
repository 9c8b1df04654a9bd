"""Transformers [Vaswani et al., 2017]: layers of attention and of a network for each position, and stacks of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.nn import functional as F
from pullback.nn import init
from pullback.nn.attention import MultiheadAttention
from pullback.nn.containers import ModuleList
from pullback.nn.dropout import Dropout
from pullback.nn.functional.attention import additive_mask
from pullback.nn.layers import Linear
from pullback.nn.module import Module
from pullback.nn.normalization import LayerNorm
from pullback.tape.node import new_handle
from pullback.tensor.creation import dtype_of
from pullback.tensor.device import check_device
from pullback.tensor.dispatch import is_raw

__all__ = [
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]


def _causal_mask(size: int, device: Any = None, dtype: Any = None) -> Any:
    """-inf where position i would see a later one, 0 elsewhere."""
    check_device(device)
    return new_handle(np.triu(np.full((size, size), -np.inf, dtype_of(dtype)), 1))


def _is_causal(mask: Any, is_causal: bool | None, x: Any, batch_first: bool) -> bool:
    """Whether the mask may be taken for the causal one: by what was said, else by its numbers."""
    if is_causal is not None or mask is None:
        return bool(is_causal)
    size = x.shape[1 if batch_first and len(x.shape) == 3 else 0]
    if tuple(mask.shape) != (size, size) or not is_raw(mask):
        return False
    return bool((mask._value == _causal_mask(size)._value.astype(mask._value.dtype)).all())


def _activation(activation: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    if not isinstance(activation, str):
        return activation
    if activation not in ("relu", "gelu"):
        raise RuntimeError(f"activation should be relu/gelu, not {activation}")
    return F.relu if activation == "relu" else F.gelu


class _Layer(Module):
    """Blocks whose results are added to their inputs, then normalised; or normalised before, if `norm_first`.

    `attentions` are the names of the attention blocks; the last block is a network applied to each position.
    """

    def __init__(
        self,
        attentions: tuple[str, ...],
        d_model: int,
        nhead: int,
        dim_feedforward: int,
        dropout: float,
        activation: str | Callable[[Any], Any],
        layer_norm_eps: float,
        batch_first: bool,
        norm_first: bool,
        bias: bool,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        for name in attentions:
            attention = MultiheadAttention(d_model, nhead, dropout=dropout, batch_first=batch_first, **options)
            self.add_module(name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, **options)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **options)
        self.norm_first = norm_first
        blocks = range(1, len(attentions) + 2)
        for i in blocks:
            self.add_module(f"norm{i}", LayerNorm(d_model, eps=layer_norm_eps, **options))
        for i in blocks:
            self.add_module(f"dropout{i}", Dropout(dropout))
        self.activation = _activation(activation)

    def _run(self, x: Any, *blocks: Callable[[Any], Any]) -> Any:
        for i, block in enumerate(blocks, 1):
            norm, drop = self._modules[f"norm{i}"], self._modules[f"dropout{i}"]
            x = x + drop(block(norm(x))) if self.norm_first else norm(x + drop(block(x)))
        return x

    def _attend(self, name: str, memory: Any, mask: Any, padding: Any, is_causal: bool) -> Callable[[Any], Any]:
        """The block of an attention to `memory`, or to its own input."""

        def block(x: Any) -> Any:
            seen = x if memory is None else memory
            attention = self._modules[name]
            return attention(
                x, seen, seen, attn_mask=mask, key_padding_mask=padding, need_weights=False, is_causal=is_causal
            )[0]

        return block

    def _feed_forward(self, x: Any) -> Any:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Attention of a sequence (S, n, d_model) to itself, then a network of one hidden layer on each position.

    `batch_first` takes (n, S, d_model); (S, d_model) is a sequence alone. Masks are those of `MultiheadAttention`.

    >>> import pullback as pb
    >>> from pullback import nn
    >>> nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16)(pb.zeros(5, 3, 8)).shape
    torch.Size([5, 3, 8])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        options = dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype
        super().__init__(("self_attn",), d_model, nhead, dim_feedforward, *options)

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        dtype = src._value.dtype
        padding = additive_mask(src_key_padding_mask, "src_key_padding_mask", dtype, src_mask, "src_mask")
        mask = additive_mask(src_mask, "src_mask", dtype)
        return self._run(src, self._attend("self_attn", None, mask, padding, is_causal), self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Attention of a sequence (T, n, d_model) to itself, then to a memory (S, n, d_model), then a network."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        options = dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype
        super().__init__(("self_attn", "multihead_attn"), d_model, nhead, dim_feedforward, *options)

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Any:
        return self._run(
            tgt,
            self._attend("self_attn", None, tgt_mask, tgt_key_padding_mask, tgt_is_causal),
            self._attend("multihead_attn", memory, memory_mask, memory_key_padding_mask, memory_is_causal),
            self._feed_forward,
        )


def _clones(layer: Module, count: int) -> ModuleList:
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


class TransformerEncoder(Module):
    """`num_layers` copies of an encoder layer, one after another, and then perhaps a `norm`.

    `enable_nested_tensor` and `mask_check` choose among PyTorch's kernels and have no effect here.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _clones(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check

    def forward(
        self, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None
    ) -> Any:
        dtype = src._value.dtype
        padding = additive_mask(src_key_padding_mask, "src_key_padding_mask", dtype, mask, "mask")
        mask = additive_mask(mask, "mask", dtype)
        causal = _is_causal(mask, is_causal, src, self.layers[0].self_attn.batch_first)
        for layer in self.layers:
            src = layer(src, src_mask=mask, is_causal=causal, src_key_padding_mask=padding)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """`num_layers` copies of a decoder layer, one after another, and then perhaps a `norm`."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _clones(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:
        causal = _is_causal(tgt_mask, tgt_is_causal, tgt, self.layers[0].self_attn.batch_first)
        for layer in self.layers:
            tgt = layer(
                tgt,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=causal,
                memory_is_causal=memory_is_causal,
            )
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder of sources (S, n, d_model) and a decoder of targets (T, n, d_model) that attends to its results.

    The parameters of more than one axis begin uniform in ±√(6/(fan_in + fan_out)). Raises `RuntimeError` for sources
    and targets that don't fit.

    >>> import pullback as pb
    >>> from pullback import nn
    >>> model = nn.Transformer(8, 2, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=16)
    >>> model(pb.zeros(5, 3, 8), pb.zeros(4, 3, 8), tgt_mask=model.generate_square_subsequent_mask(4)).shape
    torch.Size([4, 3, 8])
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = F.relu,
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        options = dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype

        def norm() -> LayerNorm:
            return LayerNorm(d_model, eps=layer_norm_eps, bias=bias, device=device, dtype=dtype)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(d_model, nhead, *options), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(d_model, nhead, *options), num_decoder_layers, norm()
        )
        for p in self.parameters():
            if len(p.shape) > 1:
                init.xavier_uniform_(p)
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:
        batch = 0 if self.batch_first else 1
        if len(src.shape) == 3 and src.shape[batch] != tgt.shape[batch]:
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Any:
        """The mask (sz, sz) that hides later positions: -inf above the diagonal, 0 elsewhere."""
        return _causal_mask(sz, device, dtype)
