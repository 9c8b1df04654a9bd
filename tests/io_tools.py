"""What the tests of checkpoints share: the codec on bare arrays, and checkpoints put together by hand."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import Any

import numpy as np

from pullback.io import pth
from pullback.io.leaves import Leaf
from pullback.io.pickling import bool_ops, call_ops, int_ops, name_ops, str_ops, tuple_ops

TYPED = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool", "complex64", "complex128")
UNTYPED = ("uint16", "uint32", "uint64")


def as_leaf(obj: object) -> Leaf | None:
    if isinstance(obj, Leaf):
        return obj
    return Leaf(obj) if isinstance(obj, np.ndarray) else None


def write(obj: object) -> bytes:
    stream = io.BytesIO()
    pth.write(obj, stream, as_leaf)
    return stream.getvalue()


def read(data: bytes) -> Any:
    return pth.read(io.BytesIO(data), lambda leaf: leaf.array)


def read_leaves(data: bytes) -> Any:
    return pth.read(io.BytesIO(data), lambda leaf: leaf)


def sample(dtype: str, shape: tuple[int, ...] = (2, 3)) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal(shape) * 50
    return np.asarray(values > 0 if dtype == "bool" else np.abs(values)).astype(dtype)


def archive_of(program: bytes, *storages: bytes, compression: int = zipfile.ZIP_STORED, **others: bytes) -> bytes:
    """A checkpoint put together by hand."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        for key, storage in enumerate(storages):
            archive.writestr(f"archive/data/{key}", storage)
        for name, content in others.items():
            archive.writestr(f"archive/{name}", content)
    return stream.getvalue()


def program(*ops: bytes) -> bytes:
    return pickle.PROTO + b"\x02" + b"".join(ops) + pickle.STOP


def storage_ops(kind: str = "torch.FloatStorage", key: str = "0", count: int = 4) -> bytes:
    identity = (str_ops("storage"), name_ops(kind), str_ops(key), str_ops("cpu"), int_ops(count))
    return tuple_ops(*identity) + pickle.BINPERSID


def tensor_ops(
    *,
    storage: bytes = b"",
    offset: int = 0,
    size: Any = (4,),
    stride: Any = (1,),
    grad: bool = False,
    last: bytes = b"",
) -> bytes:
    return call_ops(
        "torch._utils._rebuild_tensor_v2",
        storage or storage_ops(),
        int_ops(offset),
        tuple_ops(*map(int_ops, size)),
        tuple_ops(*map(int_ops, stride)),
        bool_ops(grad),
        call_ops("collections.OrderedDict"),
        last,
    )


FOUR = np.arange(4, dtype=np.float32).tobytes()


def assert_same(got: Any, expected: Any) -> None:
    if hasattr(got, "numpy"):
        got = got.numpy()
    assert type(got) is type(expected)
    if isinstance(expected, np.ndarray):
        assert (got.dtype, got.shape, got.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        for key, value in expected.items():
            assert_same(got[key], value)
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected)
        for mine, value in zip(got, expected, strict=True):
            assert_same(mine, value)
    else:
        assert got == expected
