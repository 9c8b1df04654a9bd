"""Sequences of unequal length: padded to one tensor, or packed step by step, under PyTorch's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from pullback.tape.node import new_handle
from pullback.tensor.conversion import is_tensor
from pullback.tensor.dispatch import as_handle
from pullback.tensor.joining import cat, stack

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Fields(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(_Fields):
    """Sequences of unequal length, the longest first, in `data`: the rows of all at step 0, then at step 1, and so on.

    Step t has `batch_sizes[t]` rows, an int64 tensor. `sorted_indices` say which of the user's sequences comes where,
    `unsorted_indices` the reverse; both are None if the user's own order was that of the lengths.
    """

    def __new__(
        cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> Self:
        if batch_sizes is None:
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences with their data converted."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def double(self) -> PackedSequence:
        return self._replace(data=self.data.double())

    def float(self) -> PackedSequence:
        return self._replace(data=self.data.float())

    @property
    def is_cuda(self) -> bool:
        return False


def invert_permutation(permutation: Any) -> Any:
    """The permutation that undoes this one; None for None."""
    return None if permutation is None else new_handle(np.argsort(_integers(permutation)))


def _integers(x: Any) -> Any:
    return np.asarray(x._value if is_tensor(x) else x, np.int64)


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded tensor (steps, sequences, *), or (sequences, steps, *) with `batch_first`.

    Raises `RuntimeError` for lengths that are not positive, don't fit the tensor, or increase while `enforce_sorted`.
    """
    count = _integers(lengths)
    order = None
    x = as_handle(input)
    if not enforce_sorted:
        order = np.argsort(-count, kind="stable")
        count = count[order]
        x = x.index_select(0 if batch_first else 1, new_handle(order))
    if batch_first:
        x = x.transpose(0, 1)
    if not x._value.size:
        raise RuntimeError("Cannot pack empty tensors.")
    if count.shape != (x.shape[1],):
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(count)} (batch_size={x.shape[1]})"
        )
    if count.min() <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if (np.diff(count) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
            "do not need ONNX exportability."
        )
    if count[0] > x.shape[0]:
        raise RuntimeError(f"Expected a length of at most {x.shape[0]}, the steps there are, but got {count[0]}")
    inside = count > np.arange(count[0])[:, None]
    rows = new_handle(np.flatnonzero(inside.reshape(-1)))
    data = x[: int(count[0])].flatten(0, 1).index_select(0, rows)
    sizes = new_handle(np.count_nonzero(inside, 1))
    return PackedSequence(data, sizes, None if order is None else new_handle(order))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Any, Any]:
    """The sequences padded to (steps, sequences, *) and their lengths; the inverse of `pack_padded_sequence`."""
    sizes = _integers(sequence.batch_sizes)
    steps = len(sizes)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    inside = sizes[:, None] > np.arange(sizes[0])
    lengths = np.count_nonzero(inside, 0)
    data = as_handle(sequence.data)
    rest = tuple(data.shape[1:])
    padded = new_handle(np.full((steps * int(sizes[0]), *rest), padding_value, data._value.dtype))
    padded = padded.index_copy(0, new_handle(np.flatnonzero(inside.reshape(-1))), data)
    padded = padded.reshape(steps, int(sizes[0]), *rest)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths[_integers(sequence.unsorted_indices)]
    return padded.transpose(0, 1) if batch_first else padded, new_handle(lengths)


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Any:
    """Tensors (length, *) stacked to (longest, n, *), or (n, longest, *), the shorter ones with padding on one side."""
    if padding_side not in ("left", "right"):
        raise ValueError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    rows = [as_handle(sequence) for sequence in sequences]
    longest = max(x.shape[0] for x in rows)
    padded = []
    for x in rows:
        missing = longest - x.shape[0]
        if missing:
            space = new_handle(np.full((missing, *x.shape[1:]), padding_value, x._value.dtype))
            x = cat([x, space] if padding_side == "right" else [space, x])
        padded.append(x)
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Any]:
    """The sequences of a padded tensor, each cut to its length."""
    x = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [x[i, :n] for i, n in enumerate(_integers(lengths).tolist())]


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Pack tensors (length, *)."""
    return pack_padded_sequence(pad_sequence(sequences), [len(x) for x in sequences], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Any]:
    """The sequences that were packed, each (length, *)."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
