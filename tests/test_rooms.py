"""Imports between the rooms of the package run one way, lazy ones included (DESIGN.md, section 3).

A room is a folder or a module right under `src/pullback`. The tables below are the whole rule; a file in no room fails.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "pullback"
SOURCE = Path(__file__).parents[1] / "src" / PACKAGE

# From the bottom to the top: a room may import itself and what stands before it.
CORE = ("values", "ops", "tape", "tensor", "transforms", "compile", "check")
# These three stand side by side on the core: none may import another.
SHOW = ("show",)
SCIENCE = ("scipy", "distributions")
TRAINING = ("io", "data", "nn", "optim")
# These are written as users write: they alone may import the package root.
TOP = ("demo", "cli")

WINGS = (SHOW, SCIENCE, TRAINING)

BELOW = {
    room: {*foundation, *wing[: wing.index(room) + 1]}
    for foundation, wing in (((), CORE), *((CORE, wing) for wing in WINGS), (sum(WINGS, CORE), TOP))
    for room in wing
}

# Who may import a framework: modules by dotted path, themselves and what is inside them.
ONLY_IN = {
    "llvmlite": ("compile",),
    **dict.fromkeys(("torch", "jax", "tensorflow"), ("check.adapters", "compile.export", "demo")),
}
LAZY_ONLY = {"torch", "jax", "tensorflow"}


class Import(NamedTuple):
    """One import: the dotted target (None if computed at run time) and whether it stands inside a function."""

    line: int
    target: str | None
    lazy: bool


class ImportFinder(ast.NodeVisitor):
    """Collects every import of a module, in any of the ways Python has to write one."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.package = module if is_package else module.rpartition(".")[0]
        self.importers = {"import_module", "__import__"}
        self.depth = 0
        self.found: list[Import] = []

    def add(self, node: ast.stmt | ast.expr, target: str | None) -> None:
        self.found.append(Import(node.lineno, target, self.depth > 0))

    def absolute(self, name: str, level: int) -> str:
        """The absolute form of a name written with `level` leading dots."""
        parts = self.package.split(".")
        above = parts[: len(parts) - level + 1] if level else []
        return ".".join([*above, *filter(None, [name])])

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(node, alias.name)
            if not alias.asname and alias.name.startswith(f"{PACKAGE}."):
                self.add(node, PACKAGE)  # `import pullback.ops` binds the name `pullback`: the root

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.add(node, self.absolute(node.module or "", node.level))
        if node.module == "importlib":
            self.importers |= {alias.asname or alias.name for alias in node.names if alias.name == "import_module"}

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if called in self.importers:
            name = next(iter(node.args), None) or next((k.value for k in node.keywords if k.arg == "name"), None)
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                bare = name.value.lstrip(".")
                self.add(node, self.absolute(bare, len(name.value) - len(bare)))
            else:
                self.add(node, None)
        self.generic_visit(node)

    def visit_scope(self, node: ast.AST) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = visit_scope


def objection(importer: str, found: Import) -> str | None:
    """Why the module `importer` (dotted, without the package name; empty for the root) may not make this import."""
    room = importer.partition(".")[0]
    if found.target is None:
        return None if room in TOP else "a name computed at run time cannot be checked"
    top, _, inside = found.target.partition(".")
    if top in ONLY_IN:
        if not any(f"{importer}.".startswith(f"{home}.") for home in ONLY_IN[top]):
            return f"{top} is imported only in {', '.join(ONLY_IN[top])}"
        return f"{top} is imported only inside a function" if top in LAZY_ONLY and not found.lazy else None
    if top != PACKAGE or not importer:
        return None
    target = inside.partition(".")[0]
    if not target:
        return None if room in TOP else "only the demo and the command import the root"
    if target not in BELOW:
        return f"{target} is no known room"
    return None if target in BELOW[room] else f"{room} stands below or beside {target}"


def violations(source: Path) -> Iterator[str]:
    """Every breach of the rules among the files under `source`, as `file:line: what was done: why not`."""
    for path in sorted(source.rglob("*.py")):
        *folders, name = path.relative_to(source).with_suffix("").parts
        is_package = name == "__init__"
        module = ".".join(folders if is_package else [*folders, name])
        where = path.relative_to(source).as_posix()
        if module and module.partition(".")[0] not in BELOW:
            yield f"{where}: in no known room"
            continue
        finder = ImportFinder(f"{PACKAGE}.{module}".rstrip("."), is_package)
        finder.visit(ast.parse(path.read_bytes(), path))
        for found in finder.found:
            if reason := objection(module, found):
                yield f"{where}:{found.line}: imports {found.target or '?'}: {reason}"


def test_imports_keep_the_order_of_the_rooms() -> None:
    assert (SOURCE / "values").is_dir()
    assert not list(violations(SOURCE))


# The checker itself, on planted files.


def check(tmp_path: Path, file: str, text: str) -> list[str]:
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return list(violations(tmp_path / PACKAGE))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        # upward, in every way of writing it
        ("ops/shape.py", "from pullback.tape import Node", "1: imports pullback.tape: ops stands below or beside tape"),
        ("ops/shape.py", "import pullback.tape.node as node", "1: imports pullback.tape.node: ops stands below"),
        ("ops/shape.py", "import numpy, pullback.tape as t", "1: imports pullback.tape: ops stands below"),
        ("ops/shape.py", "from ..tape import Node", "1: imports pullback.tape: ops stands below"),
        ("ops/shape.py", "from ..tape.node import Node", "1: imports pullback.tape.node: ops stands below"),
        ("ops/__init__.py", "from ..tape import Node", "1: imports pullback.tape: ops stands below"),
        ("ops/dense/dot.py", "from ...tape import Node", "1: imports pullback.tape: ops stands below"),
        ("values.py", "from .ops import add", "1: imports pullback.ops: values stands below"),
        ("tape/walk.py", "def f():\n    from pullback.tensor import Tensor", "2: imports pullback.tensor: tape stands"),
        ("tape/walk.py", "class A:\n def f(self):\n  from ..check import x", "3: imports pullback.check: tape stands"),
        ("tape/walk.py", "async def f():\n  import pullback.nn as n", "2: imports pullback.nn: tape stands below"),
        ("tape/walk.py", "try:\n  from ..nn import x\nexcept ImportError: ...", "2: imports pullback.nn: tape stands"),
        ("tape/walk.py", "if TYPE_CHECKING:\n  from ..nn import x", "2: imports pullback.nn: tape stands below"),
        ("tape/walk.py", "importlib.import_module('pullback.nn')", "1: imports pullback.nn: tape stands below"),
        ("tape/walk.py", "importlib.import_module(name='pullback.nn')", "1: imports pullback.nn: tape stands below"),
        ("tape/walk.py", "importlib.import_module('..nn', __package__)", "1: imports pullback.nn: tape stands below"),
        ("tape/walk.py", "f = lambda: il.import_module('pullback.nn').x", "1: imports pullback.nn: tape stands below"),
        (
            "tape/walk.py",
            "from importlib import import_module as im\nim('pullback.nn')",
            "2: imports pullback.nn: tape stands below",
        ),
        ("tape/walk.py", "__import__('pullback.nn')", "1: imports pullback.nn: tape stands below"),
        # side by side
        ("show/page.py", "from pullback.nn import Module", "1: imports pullback.nn: show stands below or beside nn"),
        ("nn/module.py", "from pullback.show import draw", "1: imports pullback.show: nn stands below or beside show"),
        ("data/loader.py", "from pullback.nn import Module", "1: imports pullback.nn: data stands below"),
        ("nn/module.py", "from pullback.optim import SGD", "1: imports pullback.optim: nn stands below"),
        ("optim/sgd.py", "from pullback.demo import run", "1: imports pullback.demo: optim stands below"),
        ("demo/run.py", "from pullback.cli import main", "1: imports pullback.cli: demo stands below"),
        # the root
        ("tensor/a.py", "import pullback", "1: imports pullback: only the demo and the command import the root"),
        ("tensor/a.py", "import pullback as pb", "1: imports pullback: only the demo"),
        ("tensor/a.py", "import pullback.values", "1: imports pullback: only the demo"),
        ("tensor/a.py", "from pullback import values", "1: imports pullback: only the demo"),
        ("tensor/a.py", "from .. import values", "1: imports pullback: only the demo"),
        ("tensor/a.py", "def f():\n    import pullback as pb", "2: imports pullback: only the demo"),
        ("tensor/a.py", "importlib.import_module('pullback')", "1: imports pullback: only the demo"),
        # what cannot be checked, and what is not on the plan
        ("tensor/a.py", "importlib.import_module(f'pullback.{x}')", "1: imports ?: a name computed at run time"),
        ("tensor/a.py", "def f(x): return __import__(x)", "1: imports ?: a name computed at run time"),
        ("tensor/a.py", "from pullback.attic import x", "1: imports pullback.attic: attic is no known room"),
        ("attic/a.py", "", "attic/a.py: in no known room"),
        ("attic.py", "", "attic.py: in no known room"),
        # other frameworks
        ("tensor/a.py", "import llvmlite.binding as b", "1: imports llvmlite.binding: llvmlite is imported only in"),
        ("tensor/a.py", "def f():\n  from llvmlite import ir", "2: imports llvmlite: llvmlite is imported only in"),
        ("__init__.py", "def f():\n  import llvmlite", "2: imports llvmlite: llvmlite is imported only in compile"),
        ("check/report.py", "def f():\n  import torch", "2: imports torch: torch is imported only in check.adapters"),
        ("check/adapters.py", "import torch", "1: imports torch: torch is imported only inside a function"),
        ("demo.py", "import tensorflow as tf", "1: imports tensorflow: tensorflow is imported only inside a function"),
        ("compile/llvm.py", "def f():\n  import jax.numpy", "2: imports jax.numpy: jax is imported only in check.ad"),
        ("nn/a.py", "def f():\n  import_module('torch.nn')", "2: imports torch.nn: torch is imported only in check"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, file: str, text: str, message: str) -> None:
    (violation,) = check(tmp_path, file, text)
    assert message in violation
    assert violation.startswith(file)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("ops/shape.py", "from pullback.values import Symbol\nfrom .table import Op\nfrom pullback.ops import table"),
        ("ops/shape.py", "import pullback.values.graph as graph\nimport numpy as np\nimport importlib"),
        ("check/a.py", "from ..compile import trace\nfrom ..transforms import grad\nfrom . import numeric"),
        ("show/page.py", "from pullback.check import report"),
        ("optim/sgd.py", "from pullback.nn import Module\nfrom ..io import save\nfrom ..data import Dataset"),
        ("cli.py", "import pullback as pb\nfrom pullback import nn\nfrom pullback.show import x\nimport pullback.demo"),
        ("demo/__main__.py", "import pullback as pb\nfrom . import run\ndef f(n): return importlib.import_module(n)"),
        ("demo/run.py", "def f():\n  import torch\n  return importlib.import_module('jax')"),
        ("__init__.py", "from pullback import nn\nfrom .tensor import Tensor\nfrom pullback.show import explain"),
        ("compile/llvm.py", "import llvmlite.binding\nfrom llvmlite import ir"),
        ("compile/export.py", "def f():\n  from jax import numpy"),
        ("check/adapters/torch.py", "def f():\n  import torch"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, text: str) -> None:
    assert check(tmp_path, file, text) == []
