"""Recurrent networks as functions: one direction of one layer over whole sequences, and single cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.nn.functional.layer import linear
from pullback.ops import recurrent as r
from pullback.ops.shape import reshape
from pullback.tape.node import new_handle
from pullback.tensor.dispatch import as_handle

__all__ = ["gru_cell", "lstm_cell", "rnn_relu_cell", "rnn_tanh_cell"]


def scanned(
    mode: str, x: Any, state: Sequence[Any], weights: Sequence[Any], sizes: tuple[int, ...], reverse: bool = False
) -> tuple[Any, ...]:
    """The states (rows, H) that a layer goes through over packed rows x (rows, in): h', and for "LSTM" c' too.

    `state` are those before the first step, (sequences, H). `weights` are weight_ih, weight_hh, bias_ih and bias_hh,
    of which the biases may be None, and in an LSTM perhaps the projection weight_hr. `mode` is "RNN_TANH", "RNN_RELU",
    "LSTM" or "GRU"; for `sizes` see `pullback.ops.recurrent`.
    """
    w_ih, w_hh, b_ih, b_hh, *proj = weights
    if mode == "GRU":
        pre = linear(x, w_ih, b_ih)
        if b_hh is None:
            b_hh = new_handle(np.zeros(w_hh.shape[0], w_hh._value.dtype))
        y = r.gru_scan(pre, *state, w_hh, reshape(b_hh, shape=(1, w_hh.shape[0])), sizes=sizes, reverse=reverse)
        return (y[..., 4 * w_hh.shape[1] :],)
    pre = linear(x, w_ih, None if b_ih is None else b_ih + b_hh)
    if mode == "LSTM":
        size = w_hh.shape[0] // 4
        y = r.lstm_scan(pre, *state, w_hh, *proj, sizes=sizes, reverse=reverse)
        return y[..., 5 * size :], y[..., 4 * size : 5 * size]
    return (r.rnn_scan(pre, *state, w_hh, sizes=sizes, reverse=reverse, relu=mode == "RNN_RELU"),)


def _cell(mode: str, input: Any, state: Sequence[Any], *weights: Any) -> tuple[Any, ...]:
    x = as_handle(input)
    states = [as_handle(h) for h in state]
    _check_cell(x, states, weights[0], weights[1])
    return scanned(mode, x, states, weights, (x.shape[0],))


def _check_cell(x: Any, states: Sequence[Any], w_ih: Any, w_hh: Any) -> None:
    """Raise `RuntimeError`, as PyTorch, for a batch and states that don't fit each other or the weights."""
    if x.shape[1] != w_ih.shape[1]:
        raise RuntimeError(f"input has inconsistent input_size: got {x.shape[1]} expected {w_ih.shape[1]}")
    for i, h in enumerate(states):
        if h.shape[0] != x.shape[0]:
            raise RuntimeError(f"Input batch size {x.shape[0]} doesn't match hidden{i} batch size {h.shape[0]}")
        if h.shape[1] != w_hh.shape[1]:
            raise RuntimeError(f"hidden{i} has inconsistent hidden_size: got {h.shape[1]}, expected {w_hh.shape[1]}")


def rnn_tanh_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """tanh(input @ w_ih.T + b_ih + hx @ w_hh.T + b_hh) of inputs (n, in) and states (n, H)."""
    return _cell("RNN_TANH", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def rnn_relu_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """relu(input @ w_ih.T + b_ih + hx @ w_hh.T + b_hh) of inputs (n, in) and states (n, H)."""
    return _cell("RNN_RELU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def lstm_cell(
    input: Any, hx: Sequence[Any], w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None
) -> tuple[Any, Any]:
    """The states (h', c') that long short-term memory goes to from `hx` = (h, c), each (n, H), with inputs (n, in)."""
    h, c = _cell("LSTM", input, hx, w_ih, w_hh, b_ih, b_hh)
    return h, c


def gru_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """The states that gated recurrent units go to from `hx` (n, H), with inputs (n, in)."""
    return _cell("GRU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]
