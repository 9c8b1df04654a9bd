"""Lines of the user's program: who called, past pullback's own files."""

from __future__ import annotations

import linecache
import os
from typing import NamedTuple

__all__ = ["Location", "is_internal"]

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_WRITTEN_AS_USERS_WRITE = _ROOT + "demo" + os.sep


class _InternalFiles(dict[str, bool]):
    """Whether a source file is pullback's own, looked up by its name."""

    def __missing__(self, file: str) -> bool:
        self[file] = found = file.startswith(_ROOT) and not file.startswith(_WRITTEN_AS_USERS_WRITE)
        return found


is_internal = _InternalFiles()


class Location(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    function: str

    @property
    def source(self) -> str:
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        source = self.source
        return f'"{self.file}", line {self.line}, in {self.function}' + (f": `{source}`" if source else "")
