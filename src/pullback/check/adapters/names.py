"""pullback's names in the place of another framework's, for the time of a run on the tape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

__all__ = ["Namespace", "register", "root"]

_root: list[Any] = []


def register(namespace: Any) -> None:
    """Say where pullback's public names are: the package does, once they are all there."""
    _root[:] = [namespace]


def root() -> Any:
    """pullback's public names."""
    return _root[0]


class Namespace:
    """In place of a module of another framework: `table` says what stands for a dotted name; a module inside it is
    another namespace, and whatever is left `otherwise` decides.
    """

    def __init__(
        self, module: ModuleType, path: str, table: Mapping[str, Any], otherwise: Callable[[str, Any], Any]
    ) -> None:
        self._module, self._path, self._table, self._otherwise = module, path, table, otherwise

    def __getattr__(self, name: str) -> Any:
        path = f"{self._path}.{name}" if self._path else name
        if path in self._table:
            return self._table[path]
        value = getattr(self._module, name)
        if isinstance(value, ModuleType):
            return Namespace(value, path, self._table, self._otherwise)
        return self._otherwise(path, value)


def dotted(owner: Any, path: str) -> Any:
    """`owner.a.b` for "a.b"; raises `AttributeError` if there is none."""
    for name in path.split("."):
        owner = getattr(owner, name)
    return owner
