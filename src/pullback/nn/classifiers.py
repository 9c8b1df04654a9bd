"""Losses of classes with parameters of their own: the linear layer before a cross entropy, whole or in clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from pullback.nn import functional as F
from pullback.nn.containers import ModuleList, Sequential
from pullback.nn.functional.classes import LinearCrossEntropyOptions
from pullback.nn.layers import Linear
from pullback.nn.loss import WeightedLoss
from pullback.nn.module import Module
from pullback.ops.index import scatter_add
from pullback.tape.node import new_handle
from pullback.tensor.conversion import numbers
from pullback.tensor.dispatch import as_handle
from pullback.tensor.joining import cat

__all__ = ["AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss", "LinearCrossEntropyOptions"]


class LinearCrossEntropyLoss(WeightedLoss):
    """The cross entropy of the results of a linear layer: `F.linear_cross_entropy` with the layer's parameters.

    The scores are (n, num_classes, *out_features). Raises `RuntimeError` for a weight of another size.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Any = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ) -> None:
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise RuntimeError(f"expected weight shape to be {(num_classes,)}, got {tuple(weight.shape)}")
        if not 0 <= label_smoothing <= 1:
            raise RuntimeError(f"expected label_smoothing to be in range [0, 1], got {label_smoothing}")
        super().__init__(weight, reduction=reduction)
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.options = options
        rows = math.prod(out_features, start=num_classes)
        self.linear = Linear(in_features, rows, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Any, target: Any) -> Any:
        classes = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape(*classes, self.linear.in_features),
            target,
            linear_bias=None if bias is None else bias.reshape(classes),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, reduction={self.reduction}, "
            f"ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing}, options={self.options}"
        )


class _Result(NamedTuple):
    output: Any
    loss: Any

    def __repr__(self) -> str:
        return f"ASMoutput(output={self.output!r}, loss={self.loss!r})"


class AdaptiveLogSoftmaxWithLoss(Module):
    """A softmax over many classes, of which the frequent come first: `head` tells the first ones and the clusters of
    the others apart, and `tail` holds a smaller network for each cluster [Grave et al., 2017].

    The classes are cut at `cutoffs`; the network of cluster i has in_features/div_value**(i + 1) hidden features.
    Called with inputs (n, in_features) and classes (n), or with one of each, it gives their log-probabilities and the
    loss, minus their mean. Raises `ValueError` for cutoffs that don't increase.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        cuts = list(cutoffs)
        if not cuts:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if cuts != sorted(set(cuts)) or cuts[0] <= 0 or cuts[-1] > n_classes - 1 or any(int(c) != c for c in cuts):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each "
                "value is between 1 and n_classes-1"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cuts, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = cuts[0]
        self.n_clusters = len(cuts)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, device=device, dtype=dtype)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(pairwise(self.cutoffs), 1):
            hidden = int(in_features // div_value**i)
            layers = [
                Linear(size, out, bias=False, device=device, dtype=dtype)
                for size, out in ((in_features, hidden), (hidden, high - low))
            ]
            self.tail.append(Sequential(*layers))

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        for layer in (self.head, *(layer for cluster in self.tail for layer in cluster.children())):
            layer.reset_parameters()

    def forward(self, input_: Any, target_: Any) -> _Result:
        x, t = as_handle(input_), as_handle(target_)
        rank = len(t.shape)
        if rank > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if rank == 1 and x.shape[0] != t.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        if len(x.shape) != rank + 1:
            raise RuntimeError(
                f"{rank}D target tensor expects {rank + 1}D input tensors, but found inputs with size {x.shape}"
            )
        if not rank:
            x = x.unsqueeze(0)
        classes = np.atleast_1d(numbers(t, "the target of AdaptiveLogSoftmaxWithLoss"))
        if classes.size and (classes.min() < 0 or classes.max() >= self.n_classes):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                f"[{classes.min()}, {classes.max()}] were found. "
            )
        cluster = np.searchsorted(self.cutoffs, classes, side="right")  # 0 for the first classes
        place = np.where(cluster == 0, classes, self.shortlist_size + cluster - 1)
        output = F.log_softmax(self.head(x), dim=1).gather(1, new_handle(place[:, None])).squeeze(1)
        for i in range(self.n_clusters):
            rows = np.flatnonzero(cluster == i + 1)
            if len(rows):
                logs = F.log_softmax(self.tail[i](x.index_select(0, new_handle(rows))), dim=1)
                own = logs.gather(1, new_handle(classes[rows, None] - self.cutoffs[i])).squeeze(1)
                output = output + scatter_add(own, rows, shape=(len(classes),))
        loss = (-output).mean()
        return _Result(output if rank else output.squeeze(0), loss)

    def log_prob(self, input: Any) -> Any:
        """The log-probabilities (n, n_classes) of all classes."""
        head = F.log_softmax(self.head(input), dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            parts.append(F.log_softmax(cluster(input), dim=1) + head[:, self.shortlist_size + i].unsqueeze(1))
        return cat(parts, 1)

    def predict(self, input: Any) -> Any:
        """The most probable class of each input; among the first ones whenever the head says so."""
        head = self.head(input).argmax(1)
        return head.where(head < self.shortlist_size, self.log_prob(input).argmax(1))
