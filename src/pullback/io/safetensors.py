"""The safetensors format, both ways, through the `safetensors` library: tensors by name, and metadata of strings."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

import numpy as np

from pullback.io.leaves import Array, CheckpointError, FromLeaf, Leaf, ToLeaf, elements

__all__ = ["read", "read_metadata", "write"]

_DTYPES: Final = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
_LONGEST_HEADER: Final = 100_000_000  # of the format


def _library() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("a .safetensors file needs the safetensors library: pip install 'pullback[fit]'") from error
    return safetensors


def read(stream: BinaryIO, from_leaf: FromLeaf) -> dict[str, Any]:
    """The tensors in the file, by name, each made by `from_leaf`. bfloat16 is widened to float32.

    Raises `CheckpointError` for a damaged file and for an element type that NumPy lacks, and `ImportError` without the
    library.

    >>> import io
    >>> stream = io.BytesIO()
    >>> write({"w": np.arange(3.0)}, stream, lambda x: Leaf(x) if isinstance(x, np.ndarray) else None)
    >>> read(stream, lambda leaf: leaf.array)
    {'w': array([0., 1., 2.])}
    """
    library = _library()
    stream.seek(0)
    try:
        entries = library.deserialize(stream.read())
    except library.SafetensorError as error:
        raise CheckpointError(f"the safetensors file is damaged ({error}); restore it from its source") from error
    tensors = {}
    for name, entry in sorted(entries):
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise CheckpointError(f"tensor {name!r} is of type {entry['dtype']}, which NumPy lacks; convert it to F32")
        raw = np.frombuffer(entry["data"], np.uint8)
        array = elements(raw, dtype, swapped=sys.byteorder == "big")
        tensors[name] = from_leaf(Leaf(array.reshape(entry["shape"])))
    return tensors


def read_metadata(stream: BinaryIO) -> dict[str, str]:
    """The strings that were saved beside the tensors. Needs no library.

    Raises `CheckpointError` for a damaged header.
    """
    stream.seek(0)
    size = int.from_bytes(stream.read(8), "little")
    try:
        metadata = json.loads(stream.read(min(size, _LONGEST_HEADER))).get("__metadata__", {})
        return {str(key): str(value) for key, value in metadata.items()}
    except (ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise CheckpointError(f"the safetensors header is damaged ({error}); restore the file") from error


def write(obj: object, stream: BinaryIO, to_leaf: ToLeaf, metadata: Mapping[str, str] | None = None) -> None:
    """Write a flat dict of tensors. What a tensor is beyond its numbers, and what memory it shares, is not kept.

    Raises `TypeError`, naming the entry, for anything but a dict from str to tensors and metadata from str to str, and
    `ImportError` without the library. Nothing is written then.
    """
    library = _library()
    if not isinstance(obj, Mapping):
        raise TypeError(f"safetensors holds a dict of tensors, not a {type(obj).__name__}; save it to a .pth file")
    arrays: dict[str, Array] = {}
    for name, value in obj.items():
        leaf = to_leaf(value)
        if not isinstance(name, str) or leaf is None:
            kind = type(value).__name__
            raise TypeError(f"safetensors holds tensors by name, not a {kind} at {name!r}; save it to a .pth file")
        if leaf.array.dtype.name not in _DTYPES.values():
            raise TypeError(f"safetensors has no {leaf.array.dtype}, the type of {name!r}; save it to a .pth file")
        arrays[name] = np.asarray(leaf.array, order="C")
    for key, text in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"safetensors metadata is text by name, not a {type(text).__name__} at {key!r}; use str()")
    stream.write(library.numpy.save(arrays, metadata=dict(metadata) if metadata else None))
