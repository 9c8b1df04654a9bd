"""PyTorch's checkpoint format (`.pth`, `.pt`), both ways, without PyTorch.

A checkpoint is an uncompressed zip archive. `data.pkl` is a pickle in which a tensor is a call that names a storage, an
offset, sizes and strides; `data/0`, `data/1`, ... are the storages' bytes, each aligned to 64 so that it can be mapped;
`byteorder` says how the numbers are laid out and `version` is 3. Tensors that share memory share a storage.

The file may be hostile, so nothing in it is believed: see `pullback.io.pickling` for the pickle. Every tensor is
checked to lie inside its storage and every record inside the file.
"""

from __future__ import annotations

import pickle
import struct
import sys
import zipfile
import zlib
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np

from pullback.io.leaves import Array, CheckpointError, FromLeaf, Leaf, ToLeaf, elements
from pullback.io.pickling import (
    BUILTINS,
    Emitter,
    Function,
    Internal,
    bool_ops,
    call_ops,
    execute,
    int_ops,
    mismatch,
    name_ops,
    refuse,
    str_ops,
    tuple_ops,
)
from pullback.values.dtype import DTYPES, DType
from pullback.values.shape import Size

__all__ = ["read", "write"]

_STORAGE: Final = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int8": "CharStorage",
    "int16": "ShortStorage",
    "int32": "IntStorage",
    "int64": "LongStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}
_UNTYPED: Final = ("uint16", "uint32", "uint64")  # in an UntypedStorage, the dtype standing at the tensor
_DTYPE_NAMES: Final = ("torch.float", "torch.complex", "torch.int", "torch.uint", "torch.qint", "torch.quint")
_ALIGNMENT: Final = 64
_ZIP64: Final = 1 << 30  # a record from this size on gets the longer header, well before it must


# -- reading ---------------------------------------------------------------------------------------------------------


def read(stream: BinaryIO, from_leaf: FromLeaf) -> Any:
    """The object in the checkpoint that the seekable `stream` holds, each tensor made by `from_leaf`.

    Arrays whose tensors shared memory share it. bfloat16 is widened to float32. Devices come back as strings, and
    Python attributes that were set on a tensor are dropped.

    Raises `CheckpointError` for a damaged file, another kind of archive, and anything in the file but tensors, numbers,
    strings, bytes, None, dtypes, and dicts, lists, tuples and sets of them; none of it is run.

    >>> import io
    >>> stream = io.BytesIO()
    >>> write({"w": np.arange(3.0), "epoch": 2}, stream, lambda x: Leaf(x) if isinstance(x, np.ndarray) else None)
    >>> read(stream, lambda leaf: leaf.array)
    {'w': array([0., 1., 2.]), 'epoch': 2}
    """
    archive = _Archive(stream)
    rebuild = _Rebuild(archive, from_leaf)
    return execute(archive.record("data.pkl").tobytes(), rebuild.find, rebuild.fetch)


class _Archive:
    """The records of a checkpoint, each checked to be a plain, undamaged part of the file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, 2)
        try:
            with zipfile.ZipFile(stream) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise _damaged(f"its zip directory cannot be read ({error})") from error
        self._infos = {info.filename: info for info in infos}
        if len(self._infos) < len(infos) or sum(info.file_size for info in infos) > self._size:
            raise _damaged("its zip directory lists records twice, or more of them than the file can hold")
        roots = [name.removesuffix("data.pkl") for name in self._infos if name.partition("/")[2] == "data.pkl"]
        if len(roots) != 1:
            raise CheckpointError("the zip archive has no data.pkl, so torch.save did not write it")
        self._root = roots[0]
        if f"{self._root}constants.pkl" in self._infos:
            raise refuse("a TorchScript program", "in PyTorch, torch.save(module.state_dict(), path) instead")
        byteorder = self.record("byteorder").tobytes() if f"{self._root}byteorder" in self._infos else b"little"
        if byteorder not in (b"little", b"big"):
            raise _damaged("its byte order is neither little nor big")
        self.swapped = byteorder.decode() != sys.byteorder

    def record(self, name: str) -> Array:
        """The bytes of a record, as a fresh uint8 array."""
        info = self._infos.get(self._root + name)
        if info is None:
            raise _damaged(f"its record {name!r:.99} is missing")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise CheckpointError("the archive is compressed or encrypted, which torch.save never does; zip it with -0")
        header = self._bytes(info.header_offset, 30)
        if header[:4] != b"PK\3\4":
            raise _damaged(f"its record {name!r:.99} is not where the directory says")
        data = np.empty(info.file_size, np.uint8)
        start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))
        self._fill(start, data.data)
        if info.CRC and zlib.crc32(data.data) != info.CRC:  # zero: written by PyTorch with its checksums turned off
            raise _damaged(f"its record {name!r:.99} fails its checksum")
        return data

    def _bytes(self, start: int, size: int) -> bytes:
        data = bytearray(size)
        self._fill(start, memoryview(data))
        return bytes(data)

    def _fill(self, start: int, into: memoryview) -> None:
        if not 0 <= start <= self._size - len(into):
            raise _damaged("a record reaches past its end")
        self._stream.seek(start)
        while into:
            chunk = self._stream.read(min(len(into), 1 << 20))
            if not chunk:
                raise _damaged("it ends inside a record")
            into[: len(chunk)] = chunk
            into = into[len(chunk) :]


def _damaged(why: str) -> CheckpointError:
    return CheckpointError(f"the checkpoint is damaged: {why}; restore the file from its source")


class _StorageType(Internal):
    __slots__ = ("dtype",)

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __repr__(self) -> str:
        return "a type of storage"


class _Storage(Internal):
    """The memory that tensors are views of."""

    __slots__ = ("_arrays", "_swapped", "dtype", "raw")

    def __init__(self, raw: Array, dtype: str, swapped: bool) -> None:
        self.raw = raw
        self.dtype = dtype
        self._swapped = swapped
        self._arrays: dict[tuple[str, bool, bool], Array] = {}

    def __repr__(self) -> str:
        return "a storage without its tensor"

    def array(self, dtype: str, conjugated: bool, negated: bool) -> Array:
        """All its numbers, conjugated or negated where PyTorch had put that off. Made once for each kind of view."""
        key = dtype, conjugated, negated
        if key not in self._arrays:
            array = elements(self.raw, dtype, swapped=self._swapped)
            array = np.conjugate(array) if conjugated else array
            self._arrays[key] = np.negative(array) if negated else array
        return self._arrays[key]


class _Rebuild:
    """What the names in a checkpoint stand for, and what its calls make."""

    def __init__(self, archive: _Archive, from_leaf: FromLeaf) -> None:
        self._archive = archive
        self._from_leaf = from_leaf
        self._raw: dict[str, Array] = {}
        self._storages: dict[tuple[str, str], _Storage] = {}
        self._leaves: dict[int, tuple[object, Leaf]] = {}  # by the id of the tensor made of it, which is kept alive
        calls = {
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor_v3": self._tensor,
            "torch._utils._rebuild_parameter": self._parameter,
            "torch._utils._rebuild_parameter_with_state": self._parameter,
            "torch._tensor._rebuild_from_type_v2": self._from_type,
            "torch.Size": self._size,
            "torch.device": self._device,
        }
        self._names: dict[str, object] = {
            **BUILTINS,
            **{name: Function(name, call) for name, call in calls.items()},
            **{name: Function(name) for name in ("torch.Tensor", "torch.nn.parameter.Parameter")},
            **{f"torch.{storage}": _StorageType(dtype) for dtype, storage in _STORAGE.items()},
            **{f"torch.{dtype.name}": dtype for dtype in DTYPES.values()},
            "torch.bfloat16": DTYPES["float32"],
            "torch.storage.UntypedStorage": _StorageType("uint8"),
        }

    def find(self, name: str) -> object:
        """What the dotted `name` stands for."""
        name = name.replace("__builtin__.", "builtins.", 1)
        if name not in self._names:
            raise refuse(f"the name {name!r:.200}", _advice(name))
        return self._names[name]

    def fetch(self, identity: object) -> _Storage:
        """The storage with a persistent id."""
        match identity:
            case ("storage", _StorageType(dtype=dtype), str() as key, str(), int() as count):
                if key not in self._raw:
                    self._raw[key] = self._archive.record(f"data/{key}")
                size = self._raw[key].size
                if not 0 <= count * _itemsize(dtype) <= size:
                    raise _damaged(f"storage {key!r:.99} has {size} bytes, too few for {count} of {dtype}")
                if (key, dtype) not in self._storages:
                    self._storages[key, dtype] = _Storage(self._raw[key], dtype, self._archive.swapped)
                return self._storages[key, dtype]
        raise refuse("a persistent id that names no storage", "save it again with torch.save")

    def _tensor(self, args: tuple[Any, ...]) -> object:
        match args:
            case (_Storage() as storage, int() as offset, tuple() as size, tuple() as stride, bool() as grad, _, *rest):
                dtype = storage.dtype
            case _:
                raise mismatch("_rebuild_tensor_v2")
        if rest and isinstance(rest[0], DType):
            dtype = rest.pop(0).name
            if dtype not in _UNTYPED or storage.dtype != "uint8":
                raise mismatch("_rebuild_tensor_v3")
        flags = rest.pop() if rest else {}
        if rest or type(flags) is not dict or any(k not in ("conj", "neg") or v is not True for k, v in flags.items()):
            raise refuse("a tensor with metadata", "call .clone() on it in PyTorch, and save that")
        if (grad or flags) and dtype != "bfloat16" and DTYPES[dtype].dtype.kind not in "fc":
            raise mismatch("_rebuild_tensor_v2")
        array = _view(storage.array(dtype, "conj" in flags, "neg" in flags), offset, size, stride)
        return self._made(Leaf(array, grad))

    def _parameter(self, args: tuple[Any, ...]) -> object:
        match args:
            case (tensor, bool() as grad, _) | (tensor, bool() as grad, _, _) if id(tensor) in self._leaves:
                array = self._leaves[id(tensor)][1].array
                if not grad or array.dtype.kind in "fc":
                    return self._made(Leaf(array, grad, is_parameter=True))
        raise mismatch("_rebuild_parameter")

    def _from_type(self, args: tuple[Any, ...]) -> object:
        match args:
            case (Function(call=rebuild), Function(call=None), tuple() as inner, _) if rebuild == self._tensor:
                return self._tensor(inner)
        raise mismatch("_rebuild_from_type_v2")

    def _made(self, leaf: Leaf) -> object:
        tensor = self._from_leaf(leaf)
        self._leaves[id(tensor)] = tensor, leaf
        return tensor

    @staticmethod
    def _size(args: tuple[Any, ...]) -> object:
        match args:
            case (tuple() as size,) if all(type(n) is int for n in size):
                return Size(size)
        raise mismatch("torch.Size")

    @staticmethod
    def _device(args: tuple[Any, ...]) -> object:
        match args:
            case (str() as kind,):
                return kind
            case (str() as kind, int() as index):
                return f"{kind}:{index}"
        raise mismatch("torch.device")


def _itemsize(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _view(flat: Array, offset: int, size: tuple[Any, ...], stride: tuple[Any, ...]) -> Array:
    """The strided view of `flat`, offset and strides counting elements, once it is known to lie inside."""
    numbers = offset, *size, *stride
    if len(size) != len(stride) or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
        raise mismatch("_rebuild_tensor_v2")
    try:
        if 0 in size:
            return np.empty(size, flat.dtype)
        if offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) >= flat.size:
            raise _damaged(f"a tensor of shape {size!s:.99} and strides {stride!s:.99} reaches outside its storage")
        steps = [step * flat.itemsize if n > 1 else flat.itemsize for n, step in zip(size, stride, strict=True)]
        return np.ndarray(size, flat.dtype, flat, offset * flat.itemsize, steps)
    except (ValueError, OverflowError) as error:
        raise _damaged(f"a tensor has an impossible shape ({error})") from error


def _advice(name: str) -> str:
    if name.endswith("Storage") or name.startswith(_DTYPE_NAMES):
        return "in PyTorch, cast to a dtype pullback has, such as .float(), before saving"
    if name.startswith("torch._utils._rebuild"):
        return "in PyTorch, make it a plain tensor with .cpu(), .to_dense() or .dequantize() before saving"
    if name.startswith("numpy."):
        return "before saving, make NumPy values plain with .item() or .tolist(), or tensors with torch.from_numpy"
    if name.startswith(("builtins.", "collections.", "os.", "posix.", "nt.", "subprocess.", "sys.")):
        return "a checkpoint is made of tensors, plain values and containers; if you did not save this, do not trust it"
    return "if it is a whole model, save its state_dict() instead; if it is a value of yours, save plain data"


# -- writing ---------------------------------------------------------------------------------------------------------


def write(obj: object, stream: BinaryIO, to_leaf: ToLeaf) -> None:
    """Write `obj` to the seekable `stream` as a checkpoint that `torch.load(..., weights_only=True)` reads.

    `to_leaf` says what is a tensor. Tensors whose memory overlaps share a storage, as far as PyTorch can say so: views
    of another dtype, and views with negative strides, are written as copies. A storage holds no more than the memory
    between its tensors' first and last elements, and a tensor that is alone in it holds no gaps. NumPy scalars are
    written as Python numbers. The same object gives the same bytes.

    Raises `TypeError`, naming the place, for what a checkpoint cannot hold, and `ValueError` for ints of more than 2039
    bits and for nesting deeper than Python's stack. Nothing is written then.
    """
    emitter = Emitter(to_leaf)
    try:
        emitter.emit(obj)
    except RecursionError:
        raise ValueError("cannot save an object that is nested deeper than Python's stack; flatten it") from None
    storages, places = _layout([leaf.array for leaf in emitter.leaves])

    def leaf_ops(index: int) -> bytes:
        return _leaf_ops(emitter.leaves[index], places[index], storages[places[index].storage].size)

    program = np.frombuffer(emitter.program(leaf_ops), np.uint8)
    with zipfile.ZipFile(stream, "w") as archive:
        _write_record(archive, stream, "data.pkl", program)
        _write_record(archive, stream, "byteorder", np.frombuffer(sys.byteorder.encode(), np.uint8))
        for key, storage in enumerate(storages):
            _write_record(archive, stream, f"data/{key}", storage.view(np.uint8))
        _write_record(archive, stream, "version", np.frombuffer(b"3\n", np.uint8))


class _Place(NamedTuple):
    """Where a tensor's numbers are: the storage, and an offset and strides counting elements."""

    storage: int
    offset: int
    strides: tuple[int, ...]


def _layout(arrays: list[Array]) -> tuple[list[Array], list[_Place]]:
    """The 1-D storages that hold `arrays`, in the order of their first use, and each array's place."""
    arrays = [_storable(array) for array in arrays]
    spans = [(array.dtype.name, array.ctypes.data % array.itemsize, *_span(array)) for array in arrays]
    clusters: list[list[int]] = []
    key, end = None, 0
    for index in sorted(range(len(arrays)), key=spans.__getitem__):
        *this, start, stop = spans[index]
        if this == key and start < end:
            clusters[-1].append(index)
            end = max(end, stop)
        else:
            clusters.append([index])
            key, end = this, stop
    storages: list[Array] = []
    places: dict[int, _Place] = {}
    for members in sorted(clusters, key=min):
        first = arrays[members[0]]  # the one with the lowest address
        start = spans[members[0]][2]
        size = (max(spans[index][3] for index in members) - start) // first.itemsize
        if len(members) == 1 and size > first.size:
            first = arrays[members[0]] = first.copy(order="C")
            size = first.size
        for index in members:
            strides = tuple(step // first.itemsize for step in arrays[index].strides)
            places[index] = _Place(len(storages), (spans[index][2] - start) // first.itemsize, strides)
        storages.append(np.lib.stride_tricks.as_strided(first, (size,), (first.itemsize,), writeable=False))
    return storages, [places[index] for index in range(len(arrays))]


def _storable(array: Array) -> Array:
    """`array` in this machine's byte order, with strides that PyTorch has."""
    array = np.asarray(array, array.dtype.newbyteorder("="))
    if array.dtype.name not in DTYPES:
        raise TypeError(f"cannot save an array of {array.dtype}; cast it to one of {', '.join(_STORAGE)}")
    if any(step < 0 or step % array.itemsize for step in array.strides):
        return array.copy(order="C")
    return array


def _span(array: Array) -> tuple[int, int]:
    """The addresses of the first byte of `array` and of the byte after its last."""
    start = array.ctypes.data
    if not array.size:
        return start, start
    reach = sum((n - 1) * step for n, step in zip(array.shape, array.strides, strict=True))
    return start, start + reach + array.itemsize


def _leaf_ops(leaf: Leaf, place: _Place, count: int) -> bytes:
    dtype = leaf.array.dtype.name
    untyped = dtype in _UNTYPED
    storage = "torch.storage.UntypedStorage" if untyped else f"torch.{_STORAGE[dtype]}"
    if untyped:
        count *= leaf.array.itemsize
    identity = (str_ops("storage"), name_ops(storage), str_ops(str(place.storage)), str_ops("cpu"), int_ops(count))
    hooks = call_ops("collections.OrderedDict")
    tensor = call_ops(
        f"torch._utils._rebuild_tensor_{'v3' if untyped else 'v2'}",
        tuple_ops(*identity) + pickle.BINPERSID,
        int_ops(place.offset),
        tuple_ops(*map(int_ops, leaf.array.shape)),
        tuple_ops(*map(int_ops, place.strides)),
        bool_ops(leaf.requires_grad and not leaf.is_parameter),
        hooks,
        *([name_ops(f"torch.{dtype}")] if untyped else []),
    )
    if not leaf.is_parameter:
        return tensor
    return call_ops("torch._utils._rebuild_parameter", tensor, bool_ops(leaf.requires_grad), hooks)


def _write_record(archive: zipfile.ZipFile, stream: BinaryIO, name: str, data: Array) -> None:
    """Write a record whose bytes begin at a multiple of 64: an extra field of the header takes up the slack."""
    info = zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0))
    info.file_size = data.size
    zip64 = data.size >= _ZIP64
    header = stream.tell() + 30 + len(info.filename) + 4 + (20 if zip64 else 0)
    slack = -header % _ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", slack) + b"Z" * slack
    with archive.open(info, "w", force_zip64=zip64) as record:
        record.write(data.data)
