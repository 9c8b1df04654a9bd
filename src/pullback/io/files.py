"""`save` and `load`: which format a file is in, Tensors in and out of it, and files replaced whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np

from pullback.io import pth, safetensors
from pullback.io.leaves import CheckpointError, Leaf
from pullback.tape.node import new_handle
from pullback.tensor import Tensor

__all__ = ["load", "load_metadata", "replacing", "save", "set_parameter_type"]

File: TypeAlias = "str | os.PathLike[str] | BinaryIO"

_PTH: Final = (".pth", ".pt", ".pth.tar", ".pt.tar", ".ckpt", ".bin")
_SAFETENSORS: Final = ".safetensors"


def save(obj: object, f: File, *, metadata: Mapping[str, str] | None = None) -> None:
    """Save an object to a file: a `state_dict`, an optimizer's, or any nesting of dicts, lists, tuples and sets with
    tensors, numbers, strings, bytes and None.

    The suffix decides the format: `.safetensors` takes a flat dict of tensors, and `metadata` from str to str;
    `.pth`, `.pt`, `.pth.tar`, `.ckpt` and `.bin` are PyTorch's, which `torch.load` reads. A file object gets PyTorch's.
    That one also keeps what memory tensors share, what requires a gradient, and what is a parameter.

    A path is replaced in one step when everything has been written to disk beside it, so that a reader finds the old
    file or the new one, and a save that is killed leaves the old one whole. A file object is written to at the end.

    Raises `TypeError` for what the format cannot hold, naming the place, `ValueError` for another suffix, and `OSError`
    where the file cannot be written.

    >>> import os, tempfile, pullback as pb
    >>> path = os.path.join(tempfile.mkdtemp(), "model.pth")
    >>> pb.save({"weight": pb.tensor([1.0, 2.0]), "epoch": 3}, path)
    >>> pb.load(path)
    {'weight': tensor([1., 2.]), 'epoch': 3}
    """
    if isinstance(f, str | os.PathLike):
        name = os.path.basename(os.fspath(f)).lower()
        if not name.endswith((_SAFETENSORS, *_PTH)):
            known = ", ".join((_SAFETENSORS, *_PTH))
            raise ValueError(f"the suffix of {os.fspath(f)!r} does not tell the format to save in; use one of {known}")
        with replacing(f) as stream:
            _write(obj, stream, metadata, name.endswith(_SAFETENSORS))
    elif hasattr(f, "write"):
        buffer = io.BytesIO()
        _write(obj, buffer, metadata, False)
        f.write(buffer.getbuffer())
    else:
        raise TypeError(f"save(obj, f) takes a path or a binary file as f, not a {type(f).__name__}")


def _write(obj: object, stream: BinaryIO, metadata: Mapping[str, str] | None, as_safetensors: bool) -> None:
    if as_safetensors:
        safetensors.write(obj, stream, _to_leaf, metadata)
    elif metadata:
        raise TypeError("metadata is for .safetensors files; in PyTorch's format, put it in the saved object")
    else:
        pth.write(obj, stream, _to_leaf)


def load(f: File, map_location: object = None, *, weights_only: bool = True) -> Any:
    """The object that `save`, `torch.save` or the safetensors library wrote to a file; the content tells the format.

    bfloat16 numbers are widened to float32, which holds them exactly. `map_location` and `weights_only` are there so
    that PyTorch code runs unchanged: tensors are always made on the CPU, and loading never runs code from the file.

    Raises `CheckpointError` (a `pickle.UnpicklingError`), naming the file and what to do, if it is damaged, in another
    format, or holds anything but tensors, plain values and plain containers; and `OSError`.
    """
    with _opened(f) as stream:
        if _is_safetensors(stream):
            return safetensors.read(stream, _from_leaf)
        return pth.read(stream, _from_leaf)


def load_metadata(f: File) -> dict[str, str]:
    """The `metadata` that a `.safetensors` file was saved with; empty for PyTorch's format. Raises as `load` does."""
    with _opened(f) as stream:
        return safetensors.read_metadata(stream) if _is_safetensors(stream) else {}


# -- Tensors ---------------------------------------------------------------------------------------------------------

_make_parameter: Callable[[Tensor, bool], object] | None = None


def set_parameter_type(make: Callable[[Tensor, bool], object]) -> None:
    """Have `load` make parameters with `make(tensor, requires_grad)`. `save` knows them by `_is_parameter`."""
    global _make_parameter
    _make_parameter = make


def _to_leaf(obj: object) -> Leaf | None:
    if not isinstance(obj, Tensor):
        return None
    return Leaf(np.asarray(obj.detach().numpy()), obj.requires_grad, getattr(obj, "_is_parameter", False))


def _from_leaf(leaf: Leaf) -> object:
    tensor: Tensor = new_handle(leaf.array)
    if leaf.is_parameter and _make_parameter is not None:
        return _make_parameter(tensor, leaf.requires_grad)
    return tensor.requires_grad_(leaf.requires_grad)


# -- files -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream whose content takes the place of the file at `path` in one step, if the block ends without an error.

    It is written to a hidden file beside `path`, flushed to disk, and renamed; after an error it is removed. A symbolic
    link stays, and its target is replaced. Permissions are those of the old file, or a new file's.

    Raises `OSError` where `path` is not, or cannot become, a file that may be written.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"cannot save {os.fspath(path)!r}: there is no directory {str(target.parent)!r}; make it"
        )
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    if mode is not None and not target.is_file():
        raise IsADirectoryError(f"cannot save {os.fspath(path)!r}: it is a directory or a device; name a file in it")
    if mode is not None and not os.access(target, os.W_OK):
        raise PermissionError(f"cannot save {os.fspath(path)!r}: it is read-only; allow writing to it or name another")
    temporary = target.with_name(f".pullback-{secrets.token_hex(8)}.tmp")

    def create(name: str, flags: int) -> int:
        return os.open(name, flags, 0o666 if mode is None else mode)  # a secret is no more readable while it is written

    try:
        with open(temporary, "xb", opener=create) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_directory(target.parent)


def _flush_directory(path: Path) -> None:
    """Have a rename in the directory on disk, where the system can do that; the file is whole either way."""
    if os.name == "posix":
        with contextlib.suppress(OSError):
            directory = os.open(path, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


@contextlib.contextmanager
def _opened(f: File) -> Iterator[BinaryIO]:
    """A seekable stream on `f`. A `CheckpointError` in the block is given the file's name."""
    if not isinstance(f, str | os.PathLike) and not hasattr(f, "read"):
        raise TypeError(f"load(f) takes a path or a binary file, not a {type(f).__name__}")
    with contextlib.ExitStack() as stack:
        name: object
        stream: BinaryIO
        if isinstance(f, str | os.PathLike):
            name, stream = os.fspath(f), stack.enter_context(open(f, "rb"))
        else:
            name, stream = getattr(f, "name", type(f).__name__), f if f.seekable() else io.BytesIO(f.read())
        try:
            yield stream
        except CheckpointError as error:
            error.args = (f"cannot load {name!r}: {error}",)
            raise


def _is_safetensors(stream: BinaryIO) -> bool:
    """Whether it is safetensors, not PyTorch's format. Raises `CheckpointError` if it is neither, saying what it is."""
    stream.seek(0)
    head = stream.read(64)
    if head.startswith(b"PK\3\4"):
        return False
    if head[8:9] == b"{":
        return True
    if not head:
        found = "the file is empty; restore it from its source"
    elif head.startswith(b"\x80"):
        found = "it is a bare pickle, or PyTorch's format from before 1.6; load it in PyTorch and torch.save it again"
    elif head.startswith(b"version https://git-lfs"):
        found = "it is a Git LFS pointer and not the file itself; run git lfs pull"
    elif head.startswith((b"\x89HDF", b"\x93NUMPY", b"GGUF")):
        found = "it is another library's format; save it as .safetensors there"
    else:
        found = f"it begins with {head[:8]!r}, and neither PyTorch's format nor safetensors does; save it again"
    raise CheckpointError(found)
