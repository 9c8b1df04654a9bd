"""Running a user's file, a module or a notebook, to find what is in it."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import json
import linecache
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

__all__ = ["LoadError", "load", "python_of", "quiet"]

_MAGIC: Final = re.compile(r"^(\s*)(?:[%!?]|[\w., ]+=\s*[%!]|[\w.]+\?\??\s*$)")
_OTHER_LANGUAGE: Final = re.compile(r"^%%(?!time\b|timeit\b|capture\b|prun\b)\w+")


class LoadError(Exception):
    """A file that can't be run: `str` says what happened, and at which line."""


def load(path: Path) -> ModuleType:
    """Run a Python file, as an import would, or the code cells of a notebook; its names are the module's.

    Raises `LoadError` if there is no such file, or if it raises.
    """
    path = path.resolve()
    if not path.is_file():
        raise LoadError(f"there is no file {path}")
    if path.suffix not in (".py", ".ipynb"):
        raise LoadError(f"{path.name} is neither a Python file nor a notebook")
    os.environ.setdefault("MPLBACKEND", "Agg")  # a figure on a screen would wait to be closed
    with quiet():
        try:
            return _notebook(path) if path.suffix == ".ipynb" else _module(path)
        except LoadError:
            raise
        except (Exception, SystemExit) as error:
            raise LoadError(_where(error, path)) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What the user's code prints goes to stderr, and stdout stays what the command says."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _module(path: Path) -> ModuleType:
    """Import a file under its own name, inside its package if it is in one."""
    folder, parts = path.parent, [] if path.name == "__init__.py" else [path.stem]
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    name = ".".join(parts)
    known = sys.modules.get(name)
    if known is not None and _is_at(known, path):
        return known
    if len(parts) > 1:
        return importlib.import_module(name)
    if known is not None or name in sys.stdlib_module_names:
        name = f"{name}@{path}"  # beside another module of that name
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_at(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path


def _notebook(path: Path) -> ModuleType:
    """Run the code cells of a notebook, one after the other; `file.ipynb[2]` is the second of them."""
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    vars(module)["display"] = lambda *shown, **options: None
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    sys.modules[f"{path.stem}@{path}"] = module
    module.__name__ = f"{path.stem}@{path}"
    for number, source in enumerate(_cells(path), 1):
        file = f"{path}[{number}]"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        exec(compile(source, file, "exec"), vars(module))
    return module


def _cells(path: Path) -> list[str]:
    """The Python of a notebook's code cells; what is for the shell or the notebook itself is left as an empty line."""
    try:
        text = path.read_text(encoding="utf-8")
        cells = json.loads(text)["cells"]
        code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise LoadError(f"{path.name} is no notebook (format 4): {error!r}") from error
    return [_without_magics(source if isinstance(source, str) else "".join(source)) for source in code]


def _without_magics(source: str) -> str:
    if _OTHER_LANGUAGE.match(source.lstrip()):
        return ""
    try:
        ast.parse(source)
    except SyntaxError:
        pass
    else:
        return source
    return "\n".join(_MAGIC.sub(r"\1pass  # ", line) if _MAGIC.match(line) else line for line in source.split("\n"))


def python_of(path: Path) -> str:
    """The Python text of a file or a notebook, to be read without running it; empty if it can't be read."""
    try:
        return "\n".join(_cells(path)) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    except (LoadError, OSError, ValueError):
        return ""


def _where(error: BaseException, path: Path) -> str:
    """What was raised, and the last line of the user's own file that led there."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and str(error.filename or "").startswith(str(path)):
        return f"{error.filename}:{error.lineno}: {kind}: {error.msg}\n    {(error.text or '').strip()}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(str(path))]
    if not frames:
        return f"{path}: {kind}: {error}"
    frame = frames[-1]
    return f"{frame.filename}:{frame.lineno}: {kind}: {error}\n    {frame.line}"
