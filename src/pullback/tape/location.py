"""Lines of the user's program: who called, past pullback's own files."""

from __future__ import annotations

import linecache
import os
import sys
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

    @classmethod
    def here(cls) -> Location:
        """The line of the user's that led here."""
        frame = sys._getframe(1)
        while is_internal[frame.f_code.co_filename] and frame.f_back is not None:
            frame = frame.f_back
        return cls(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)

    def __str__(self) -> str:
        source = self.source
        return f'"{self.file}", line {self.line}, in {self.function}' + (f": `{source}`" if source else "")
