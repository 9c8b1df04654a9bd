"""The corpus, one module for each family. Importing it fills `SUBJECTS`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from benchmarks.check.plant import SUBJECTS

__all__ = ["SUBJECTS"]

for _family in sorted(module.name for module in iter_modules(__path__)):
    import_module(f"{__name__}.{_family}")
