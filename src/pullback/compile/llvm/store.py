"""The disk cache of compiled objects: one file an entry, named by a hash of all that the object depends on.

An entry is a header (magic, key, checksum) and then the metadata as JSON and the object. What isn't exactly that, or
isn't a regular file of the user's own that nobody else may write, is as if it weren't there. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import stat
import struct
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pullback.compile.llvm import engine

__all__ = ["LIMIT", "Entry", "compiled", "directory", "key", "read", "write"]

LIMIT = 512 << 20  # bytes; beyond it the entries that were used longest ago go
FORMAT = 1
_MAGIC = b"pullback"
_HEADER = struct.Struct("<8sI32s32sQQ")  # magic, format, key, checksum of what follows, lengths of metadata and object
_SUFFIX = ".pbc"
_written = 0  # bytes written since the directory was last measured
_measured: str | None = None  # the directory measured last


class Entry(NamedTuple):
    """What was stored under a key."""

    object: bytes
    meta: dict[str, Any]


def directory() -> Path | None:
    """Where entries are: `PULLBACK_CACHE_DIR`, else the user's cache directory. None if it is empty or "off"."""
    given = os.environ.get("PULLBACK_CACHE_DIR")
    if given is not None:
        return None if given.lower() in ("", "off") else Path(given).expanduser()
    try:
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "pullback" / "Cache"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "pullback"
        base = os.environ.get("XDG_CACHE_HOME", "")
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "pullback"
    except RuntimeError:  # no home
        return None


@functools.cache
def _compiler() -> str:
    """A hash of the sources that decide what is made of a graph: changed ones read none of the earlier entries."""
    digest = hashlib.blake2b(digest_size=32)
    package = Path(__file__).parents[2]
    for room in ("values", "ops", "compile"):
        for path in sorted(path for path in (package / room).rglob("*") if path.suffix in (".py", ".ll")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def key(text: str, *extra: object) -> str:
    """The key of what is compiled from `text` with `extra` (anything whose `repr` says all that matters of it).

    It is a hash of these, the compiler's sources, the versions of LLVM and llvmlite, and the processor.
    """
    digest = hashlib.blake2b(digest_size=32)
    for part in (FORMAT, _compiler(), *engine.fingerprint(), text, *extra):
        encoded = repr(part).encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def read(name: str) -> Entry | None:
    """The entry of a key, or None if there is none that can be trusted."""
    folder = directory()
    if folder is None:
        return None
    path = folder / f"{name}{_SUFFIX}"
    try:
        if not _is_own(os.stat(folder)):
            return None
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or not _is_own(status):
                return None
            data = file.read()
        entry = _decode(name, data)
        if entry is not None:
            os.utime(path)  # used just now
        return entry
    except OSError:
        return None


def write(name: str, image: bytes, meta: Mapping[str, Any] = {}) -> None:
    """Store an object and its metadata (JSON) under a key. If that cannot be done, nothing happens."""
    folder = directory()
    if folder is None:
        return
    described = json.dumps(dict(meta), separators=(",", ":")).encode()
    body = described + image
    header = _HEADER.pack(_MAGIC, FORMAT, bytes.fromhex(name), _checksum(body), len(described), len(image))
    temporary = None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_own(os.stat(folder)):
            return
        descriptor, temporary = tempfile.mkstemp(".tmp", dir=folder)  # of mode 0600
        with open(descriptor, "wb") as file:
            file.write(header + body)
        os.replace(temporary, folder / f"{name}{_SUFFIX}")
        temporary = None
        _bound(folder, len(header) + len(body))
    except OSError:
        pass
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def compiled(text: str, name: str, imports: Mapping[str, int] = {}) -> engine.Code:
    """The function or variable `name` of a text that is written by hand: from the disk cache, or compiled and stored.
    Its loops stay scalar. Raises as `engine.load` does."""
    found = read(key(text))
    if found is not None:
        return engine.link(found.object, name, imports)
    code = engine.load(text, name, imports, vectorize=False, slp=False)
    write(key(text), code.object)
    return code


def _is_own(status: os.stat_result) -> bool:
    """Whether it is the user's and nobody else may write it. Windows keeps a profile's folders to its user."""
    if sys.platform == "win32":
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=32).digest()


def _decode(name: str, data: bytes) -> Entry | None:
    if len(data) < _HEADER.size:
        return None
    magic, version, found, checksum, described, size = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if (magic, version, found.hex(), described + size) != (_MAGIC, FORMAT, name, len(body)):
        return None
    if _checksum(body) != checksum:
        return None
    meta = json.loads(body[:described])
    return Entry(body[described:], meta)


def _bound(folder: Path, added: int) -> None:
    """Remove the entries used longest ago if all are more than `LIMIT`, and what interrupted writers left.

    The directory is measured at a process's first write and then after every eighth of the limit.
    """
    global _measured, _written
    first = _measured != str(folder)
    _measured = str(folder)
    _written += added
    if not first and _written < LIMIT // 8:
        return
    _written = 0
    found = []
    with os.scandir(folder) as files:
        for file in files:
            with contextlib.suppress(OSError):  # removed by another process
                status = file.stat(follow_symlinks=False)
                if file.name.endswith(_SUFFIX):
                    found.append((status.st_mtime, status.st_size, file.path))
                elif file.name.endswith(".tmp") and status.st_mtime < os.stat(folder).st_mtime - 3600:
                    os.unlink(file.path)
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= LIMIT:
            break
        with contextlib.suppress(OSError):
            os.unlink(path)
        total -= size
