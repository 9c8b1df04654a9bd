"""Recurrent networks as modules: RNN, LSTM, GRU over sequences, and their cells for one step."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from pullback.nn import functional as F
from pullback.nn import init
from pullback.nn.functional.recurrent import gru_cell, lstm_cell, rnn_relu_cell, rnn_tanh_cell, scanned
from pullback.nn.layers import empty_parameter
from pullback.nn.module import Module
from pullback.nn.utils.rnn import PackedSequence
from pullback.tape.node import new_handle
from pullback.tensor.dispatch import as_handle
from pullback.tensor.joining import cat, stack

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


class RNNBase(Module):
    """What RNN, LSTM and GRU share: layers of one or two directions, each a scan over the steps.

    The parameters of layer k are weight_ih_l{k} (gates·H, in), weight_hh_l{k} (gates·H, H), bias_ih_l{k} and
    bias_hh_l{k} (gates·H), in an LSTM with `proj_size` weight_hr_l{k} (proj_size, H), and those of the other direction
    with `_reverse` after that. All begin uniform in ±1/√H. Raises `ValueError` for sizes that can't be meant.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=2,
            )
        for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if not isinstance(value, int):
                raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
            if value <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if mode not in _GATES:
            raise ValueError("Unrecognized RNN mode: " + mode)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        gates, out = _GATES[mode] * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            width = out * self._directions if layer else input_size
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, width), "weight_hh": (gates, out)}
            if bias:
                shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for suffix in self._suffixes(layer):
                for name, shape in shapes.items():
                    self.register_parameter(name + suffix, empty_parameter(*shape, dtype=dtype, device=device))
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self._directions]

    def _weights(self, suffix: str) -> list[Any]:
        """weight_ih, weight_hh, bias_ih, bias_hh (None without biases), and weight_hr if there is one."""
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"] + ["weight_hr"] * bool(self.proj_size)
        return [getattr(self, name + suffix, None) for name in names]

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters of each layer and direction."""
        suffixes = [suffix for layer in range(self.num_layers) for suffix in self._suffixes(layer)]
        return [[w for w in self._weights(suffix) if w is not None] for suffix in suffixes]

    def flatten_parameters(self) -> None:
        """Nothing: for PyTorch's GPUs."""

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0, "bidirectional": False}
        for name, default in {"proj_size": 0, **defaults}.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text

    # The states: h, and c in an LSTM

    def _state_sizes(self) -> list[int]:
        sizes = [self.proj_size or self.hidden_size]
        return [*sizes, self.hidden_size] if self.mode == "LSTM" else sizes

    def _checked_input(self, x: Any, rank: int) -> None:
        weight = self.weight_ih_l0
        if x.dtype != weight.dtype:
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
            )
        if len(x.shape) != rank:
            raise RuntimeError(f"input must have {rank} dimensions, got {len(x.shape)}")
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )

    def _first_states(self, hx: Any, count: int, dtype: Any, batched: bool, order: Any) -> list[Any]:
        """The given states, or zeros: (layers · directions, sequences, size) each."""
        layers = self.num_layers * self._directions
        shapes = [(layers, count, size) for size in self._state_sizes()]
        if hx is None:
            return [new_handle(np.zeros(shape, dtype)) for shape in shapes]
        given = [as_handle(h) for h in (hx if self.mode == "LSTM" else (hx,))]
        ranks = [len(h.shape) for h in given]
        if any(n != 2 + batched for n in ranks):
            which, rank = ("batched 3-D", 3) if batched else ("unbatched 2-D", 2)
            if len(given) == 2:
                raise RuntimeError(
                    f"For {which} input, hx and cx should also be {rank}-D but got ({ranks[0]}-D, {ranks[1]}-D) tensors"
                )
            raise RuntimeError(f"For {which} input, hx should also be {rank}-D but got {ranks[0]}-D tensor")
        if not batched:
            given = [h.unsqueeze(1) for h in given]
        for h, shape, name in zip(given, shapes, ("hidden[0]", "hidden[1]"), strict=False):
            if tuple(h.shape) != shape:
                name = name if len(given) == 2 else "hidden"
                raise RuntimeError(f"Expected {name} size {shape}, got {list(h.shape)}")
        return given if order is None else [h.index_select(1, order) for h in given]

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The states of the last layer at every step, (steps, n, directions·H), and the last ones of every layer.

        `input` is (steps, n, in), (n, steps, in) with `batch_first`, (steps, in) for a single sequence, or a
        `PackedSequence`, and the result is of the same kind.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        x = as_handle(input)
        rank = len(x.shape)
        if rank not in (2, 3):
            name = self.mode.partition("_")[0]
            raise ValueError(
                f"{name}: Expected input to be 2D or 3D, got {rank}D " + "tensor " * (name == "RNN") + "instead"
            )
        batched = rank == 3
        if not batched:
            x = x.unsqueeze(1)
        elif self.batch_first:
            x = x.transpose(0, 1)
        self._checked_input(x, 3)
        steps, count = x.shape[:2]
        if not steps:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        states = self._first_states(hx, count, x._value.dtype, batched, None)
        y, last = self._run(x.flatten(0, 1), states, (count,) * steps)
        y = y.reshape(steps, count, y.shape[-1])
        if not batched:
            y, last = y.squeeze(1), [h.squeeze(1) for h in last]
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, tuple(last) if self.mode == "LSTM" else last[0]

    def _forward_packed(self, input: PackedSequence, hx: Any) -> Any:
        data, batch_sizes, order, back = input
        self._checked_input(data, 2)
        sizes = tuple(batch_sizes._value.tolist())
        states = self._first_states(hx, sizes[0], data._value.dtype, True, order)
        y, last = self._run(data, states, sizes)
        if back is not None:
            last = [h.index_select(1, back) for h in last]
        return PackedSequence(y, batch_sizes, order, back), tuple(last) if self.mode == "LSTM" else last[0]

    def _run(self, x: Any, states: list[Any], sizes: tuple[int, ...]) -> tuple[Any, list[Any]]:
        """All layers over packed rows: the rows of the last layer, and the last states of every layer and direction."""
        ends: list[list[Any]] = [[] for _ in states]
        for layer in range(self.num_layers):
            sides = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                first = [h[layer * self._directions + direction] for h in states]
                rows = scanned(self.mode, x, first, self._weights(suffix), sizes, bool(direction))
                sides.append(rows[0])
                for found, y in zip(ends, rows, strict=True):
                    found.append(y[: sizes[0]] if direction else _last(y, sizes))
            x = sides[0] if len(sides) == 1 else cat(sides, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, [stack(found) for found in ends]


def _last(y: Any, sizes: tuple[int, ...]) -> Any:
    """The row of each sequence's last step."""
    if sizes[-1] == sizes[0]:
        return y[-sizes[0] :]
    steps = np.count_nonzero(np.array(sizes)[:, None] > np.arange(sizes[0]), 0)
    starts = np.cumsum([0, *sizes])
    return y.index_select(0, new_handle(starts[steps - 1] + np.arange(sizes[0])))


class RNN(RNNBase):
    """Elman's network: h' = tanh(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh), or with relu.

    >>> import pullback as pb
    >>> from pullback import nn
    >>> y, h = nn.RNN(3, 4, num_layers=2)(pb.zeros(5, 2, 3))
    >>> y.shape, h.shape
    (torch.Size([5, 2, 4]), torch.Size([2, 2, 4]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        _no_projection(kwargs)
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, *args, **kwargs)
        self.nonlinearity = nonlinearity


def _no_projection(options: dict[str, Any]) -> None:
    if "proj_size" in options:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


class LSTM(RNNBase):
    """Long short-term memory: gates i, f, o = sigmoid and g = tanh of the affine maps, c' = f c + i g, h' = o tanh(c').

    States are pairs (h, c). With `proj_size`, h' is o tanh(c') @ weight_hr.T. [Hochreiter & Schmidhuber, 1997; Sak et
    al., 2014]

    >>> import pullback as pb
    >>> from pullback import nn
    >>> y, (h, c) = nn.LSTM(3, 4, bidirectional=True)(pb.zeros(5, 2, 3))
    >>> y.shape, c.shape
    (torch.Size([5, 2, 8]), torch.Size([2, 2, 4]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent units: with x's and h's affine maps (x_r, x_z, x_n) and (h_r, h_z, h_n), r = sigmoid(x_r + h_r),
    z = sigmoid(x_z + h_z), n = tanh(x_n + r h_n), and h' = z h + (1 - z) n. [Cho et al., 2014]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _no_projection(kwargs)
        super().__init__("GRU", *args, **kwargs)


# Cells


class RNNCellBase(Module):
    """One step of a recurrent network: weight_ih, weight_hh, bias_ih, bias_hh, which begin uniform in ±1/√H."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = num_chunks * hidden_size
        for name, shape in (
            ("weight_ih", (gates, input_size)),
            ("weight_hh", (gates, hidden_size)),
            ("bias_ih", (gates,) if bias else None),
            ("bias_hh", (gates,) if bias else None),
        ):
            self.register_parameter(
                name, None if shape is None else empty_parameter(*shape, dtype=dtype, device=device)
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text

    def _step(self, function: Any, input: Any, states: Any) -> tuple[Any, ...]:
        """`function` on a batch, or on one element of it: the new states."""
        name = type(self).__name__
        x = as_handle(input)
        if len(x.shape) not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {len(x.shape)}D instead")
        several = name == "LSTMCell"
        for i, h in enumerate(states or ()):
            if len(h.shape) not in (1, 2):
                what = f"hx[{i}]" if several else "hidden"
                raise ValueError(f"{name}: Expected {what} to be 1D or 2D, got {len(h.shape)}D instead")
        single = len(x.shape) == 1
        if single:
            x = x.unsqueeze(0)
        if states is None:
            zeros = new_handle(np.zeros((x.shape[0], self.hidden_size), x._value.dtype))
            states = (zeros,) * (1 + several)
        elif single:
            states = [h.unsqueeze(0) for h in states]
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        found = function(x, states if several else states[0], *weights)
        new = found if several else (found,)
        return tuple(h.squeeze(0) for h in new) if single else new


class RNNCell(RNNCellBase):
    """tanh(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh), or the relu of it."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        function = rnn_tanh_cell if self.nonlinearity == "tanh" else rnn_relu_cell
        return self._step(function, input, None if hx is None else (hx,))[0]


class LSTMCell(RNNCellBase):
    """One step of an `LSTM`: (h', c') from an input and (h, c)."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        h, c = self._step(lstm_cell, input, hx)
        return h, c


class GRUCell(RNNCellBase):
    """One step of a `GRU`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._step(gru_cell, input, None if hx is None else (hx,))[0]
