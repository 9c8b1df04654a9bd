"""Functions that are called with gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

__all__ = ["HookHandle"]

_next_key = itertools.count().__next__


class HookHandle:
    """A registered hook; `remove()` takes it off."""

    __slots__ = ("hooks", "key")

    def __init__(self, hooks: dict[int, Callable[[Any], Any]], hook: Callable[[Any], Any]) -> None:
        self.hooks = hooks
        self.key = _next_key()
        hooks[self.key] = hook

    def remove(self) -> None:
        self.hooks.pop(self.key, None)
