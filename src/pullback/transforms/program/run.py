"""Running a plain Python function so that what it calls of NumPy, SciPy and math reaches pullback.

`as_program(f)` gives a copy of `f` with the same code, defaults and closure, whose global names are looked up in a
`Namespace`: the function's own globals, as they are at that moment, with stand-ins for the modules and functions of the
libraries, and with such copies of the Python functions it calls. So nothing is read from source, lines and tracebacks
stay the user's, and what the function changes in its module or its closure is changed there. Outside of a transform the
originals are seen.
"""

from __future__ import annotations

import builtins
import dis
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from pullback.tape.node import Handle, new_handle
from pullback.tape.state import modes
from pullback.tensor.conversion import primal
from pullback.tensor.random import as_traced
from pullback.transforms.program.stand_ins import holds_tensor, math_stand_in, numpy_stand_in

__all__ = ["PROVIDERS", "as_program", "call", "copied", "standing_in"]

PROVIDERS: Final[dict[str, Callable[[Any], Any]]] = {
    "numpy": numpy_stand_in,
    "math": math_stand_in,
    "cmath": math_stand_in,
}
"""By the name of a library: what gives the stand-in for one of its objects, or the object itself."""

# Libraries whose Python functions run as they are: they have Tensors of their own, or none of our business.
_FOREIGN: Final = frozenset(sys.stdlib_module_names) | frozenset(
    "pullback torch jax jaxlib tensorflow keras sklearn pandas matplotlib numba autograd hypothesis pytest _pytest "
    "IPython ipykernel rich tqdm".split()
)
_KEPT: Final = 256  # namespaces and classes; the oldest go first
_PLAIN: Final = frozenset(
    (int, float, complex, bool, str, bytes, type(None), tuple, list, dict, set, frozenset, range, slice)
)
_ARGUMENTS: Final = frozenset((np.ndarray, FunctionType, MethodType))


class _Run(threading.local):
    """What the functions running in this thread have been given, None if none is running."""

    memo: dict[int, tuple[Any, Any]] | None = None
    foreign: Callable[[Any], Any] | None = None
    writers: list[Namespace] | None = None


_run = _Run()


def call(f: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run `f` as a program. The arrays and functions among its arguments are seen as its globals are, and an array is
    the same Tensor wherever the program meets it.
    """
    if _run.memo is not None:  # one program inside another
        return substitute(f)(*map(_argument, args), **kwargs)
    _run.memo, _run.writers = {}, []
    try:
        return substitute(f)(*map(_argument, args), **kwargs)
    finally:
        writers = _run.writers
        _run.memo = _run.writers = None
        for namespace in writers or ():
            namespace.flush()


@contextmanager
def standing_in(provider: Callable[[Any], Any]) -> Iterator[None]:
    """Inside the block, programs of this thread see `provider(value)` in place of a value, if it is not
    `NotImplemented`; whatever it returns for a Python function or a module is taken as it is.
    """
    previous, _run.foreign = _run.foreign, provider
    try:
        yield
    finally:
        _run.foreign = previous


def _argument(x: Any) -> Any:
    return substitute(x) if type(x) in _ARGUMENTS or modes.tracer is not None else x


class Namespace(dict[str, Any]):
    """The global names of a program: those of `original`, seen through `substitute`.

    A `dict` because Python wants one; it holds the builtins and what the program has assigned to global names, until
    that is handed to the original.
    """

    def __init__(self, original: dict[str, Any]) -> None:
        super().__init__(__builtins__=_BUILTINS, __name__=original.get("__name__"))
        self.original = original

    def __missing__(self, name: str) -> Any:
        value = self.original[name]
        if modes.tracer is not None:
            modes.tracer.reads_name(self.original, name, value)
        return value if type(value) in _PLAIN or _run.memo is None else substitute(value)

    def flush(self) -> None:
        """Hand what the program has assigned to the original; for a NumPy program's Tensors their arrays."""
        for name in [name for name in self if name not in ("__builtins__", "__name__")]:
            value = self.pop(name)
            if modes.tracer is not None:
                modes.tracer.watches(self.original)
                self.original[name] = value
                continue
            arrays = modes.numpy or isinstance(self.original.get(name), np.ndarray)
            if arrays and isinstance(value, Handle) and (value := primal(value)) is None:
                continue  # one of a batch has no numbers to keep
            self.original[name] = value


_namespaces: dict[int, Namespace] = {}  # by the id of the original, which each keeps alive


def _namespace(original: dict[str, Any]) -> Namespace:
    found = _namespaces.get(id(original))
    if found is None:
        found = Namespace(original)
        if len(_namespaces) >= _KEPT:
            _namespaces.pop(next(iter(_namespaces)), None)
        _namespaces[id(original)] = found
    return found


_original_import = builtins.__import__


def _import(name: str, globals: Any = None, *args: Any, **kwargs: Any) -> Any:
    """`import` inside a program."""
    if isinstance(globals, Namespace):
        globals = globals.original  # which say what a relative import is relative to
    module = _original_import(name, globals, *args, **kwargs)
    return module if _run.memo is None else substitute(module)


_BUILTINS: Final = {**vars(builtins), "__import__": _import}


def as_program(f: Any) -> Any:
    """What runs in place of the callable `f`, if programs are running; else `f`."""
    return f if _run.memo is None else substitute(f)


def copied(f: FunctionType) -> Any:
    """The program of a Python function, also of one of a library whose functions run as they are otherwise."""
    return f if _run.memo is None or isinstance(f.__globals__, Namespace) else _copy(f)


# What stands for a value


def substitute(value: Any) -> Any:
    """What a program sees of a value: the value itself, unless it is a function, a module, an array or a method."""
    memo = _run.memo
    assert memo is not None
    known = memo.get(id(value))
    if known is not None:
        return known[1]
    found = _substitute(value)
    if found is not value:
        memo[id(value)] = value, found
    return found


def _substitute(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if _run.foreign is not None:
        found = _run.foreign(value)
        if found is not NotImplemented:
            return found
    if kind is FunctionType:
        return _function(value)
    if modes.tracer is not None and (source := as_traced(value)) is not None:
        return source
    if kind is np.ndarray:
        if not modes.numpy or value.dtype.kind not in "fc":
            return value
        return new_handle(value) if modes.tracer is None else modes.tracer.array(value)
    if isinstance(value, ModuleType):
        return _module(value)
    if kind is MethodType:
        return _method(value)
    if kind is functools.partial:
        inner = substitute(value.func)
        return value if inner is value.func else functools.partial(inner, *value.args, **value.keywords)
    library = _library(value)
    provider = PROVIDERS.get(library)
    if provider is not None:
        return _stand_in(value, provider)
    if isinstance(value, type) or kind is BuiltinFunctionType or library in _FOREIGN:
        return value
    if kind is functools._lru_cache_wrapper:
        return _cached(value)
    return _object(value)


def _library(value: Any) -> str:
    """The top name of the package that a function, a type or an object is from."""
    if type(value) is FunctionType:
        name = value.__globals__.get("__name__")
    elif isinstance(value, np.ufunc):
        return "numpy"
    else:
        owner = getattr(value, "__self__", None)  # of a built-in method, such as np.random.normal
        if type(value) is BuiltinFunctionType and not isinstance(owner, ModuleType | None):
            value = type(owner)
        name = getattr(value, "__module__", None)
        name = name if isinstance(name, str) else type(value).__module__
    return name.partition(".")[0] if isinstance(name, str) else ""


_stand_ins: dict[int, tuple[Any, Any]] = {}  # by the id of a library's object, which the entry keeps alive


def _stand_in(value: Any, provider: Callable[[Any], Any]) -> Any:
    known = _stand_ins.get(id(value))
    if known is None:
        found = provider(value)
        if found is value:
            return value
        _stand_ins[id(value)] = known = value, found
    return known[1]


class _Module(ModuleType):
    """In place of a module: its names, seen through `substitute`; what is set is set in the original."""

    def __init__(self, original: ModuleType) -> None:
        super().__init__(original.__name__, original.__doc__)
        ModuleType.__setattr__(self, "_original", original)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._original, name)
        return value if type(value) in _PLAIN or _run.memo is None else substitute(value)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._original, name, value)

    def __dir__(self) -> list[str]:
        return dir(self._original)


_modules: WeakKeyDictionary[ModuleType, _Module] = WeakKeyDictionary()


def _module(module: ModuleType) -> ModuleType:
    top = module.__name__.partition(".")[0]
    if isinstance(module, _Module) or (top in _FOREIGN and top not in PROVIDERS):
        return module
    return _Module(module)


# Functions


_copies: WeakKeyDictionary[FunctionType, FunctionType] = WeakKeyDictionary()  # of functions without a closure


def _function(f: FunctionType) -> Any:
    known = _copies.get(f)
    if known is not None and known.__code__ is f.__code__ and known.__defaults__ is f.__defaults__:
        return known
    if isinstance(f.__globals__, Namespace):
        return f
    library = _library(f)
    provider = PROVIDERS.get(library)
    if provider is not None:
        return _stand_in(f, provider)
    return f if library in _FOREIGN else _copy(f)


def _copy(f: FunctionType) -> FunctionType:
    """`f` with its globals seen through a namespace, and so the functions and modules in its closure."""
    code = f.__code__
    facts = _facts(code)
    if facts.makes_classes:  # the body of a class looks global names up without asking a namespace
        return f
    namespace = _namespace(f.__globals__)
    assert _run.memo is not None
    assert _run.writers is not None
    if facts.writes_globals and namespace not in _run.writers:
        _run.writers.append(namespace)
    cells = f.__closure__
    closure = None
    if cells:
        closure = tuple(
            CellType() if _is_replaced(cell) and name not in facts.writes_cells else cell
            for name, cell in zip(code.co_freevars, cells, strict=True)
        )
    copy = FunctionType(code, namespace, f.__name__, f.__defaults__, closure)
    copy.__kwdefaults__ = f.__kwdefaults__
    copy.__qualname__, copy.__doc__, copy.__module__ = f.__qualname__, f.__doc__, f.__module__
    copy.__dict__.update(f.__dict__)
    _run.memo[id(f)] = f, copy  # before the closure is filled: it may hold the function itself
    for mine, cell in zip(closure or (), cells or (), strict=True):
        if modes.tracer is not None:
            modes.tracer.reads_cell(cell)
            if mine is cell and _is_replaced(cell):  # one that is written, and that the tracer will put back
                cell.cell_contents = substitute(cell.cell_contents)
        if mine is not cell:
            mine.cell_contents = substitute(cell.cell_contents)
    if not cells and not facts.writes_globals:
        _copies[f] = copy
    return copy


def _is_replaced(cell: CellType) -> bool:
    try:
        value = cell.cell_contents
    except ValueError:  # not assigned yet
        return False
    kind = type(value)
    return kind not in _PLAIN and not isinstance(value, type)


class _Facts:
    """What a function's code does, the functions inside it included."""

    __slots__ = ("makes_classes", "writes_cells", "writes_globals")

    def __init__(self, code: CodeType) -> None:
        self.makes_classes = self.writes_globals = False
        self.writes_cells: set[str] = set()
        stack = [code]
        while stack:
            part = stack.pop()
            stack += [const for const in part.co_consts if isinstance(const, CodeType)]
            for instruction in dis.get_instructions(part):
                name = instruction.opname
                self.makes_classes |= name == "LOAD_BUILD_CLASS"
                self.writes_globals |= name in ("STORE_GLOBAL", "DELETE_GLOBAL")
                if name in ("STORE_DEREF", "DELETE_DEREF"):
                    self.writes_cells.add(instruction.argval)


_known_facts: WeakKeyDictionary[CodeType, _Facts] = WeakKeyDictionary()


def _facts(code: CodeType) -> _Facts:
    found = _known_facts.get(code)
    if found is None:
        _known_facts[code] = found = _Facts(code)
    return found


def _cached(f: Any) -> Callable[..., Any]:
    """A function with `functools.cache`: called with Tensors, its program, for there is nothing to keep of those."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if _run.memo is not None and holds_tensor((*args, *kwargs.values())):
            return substitute(f.__wrapped__)(*args, **kwargs)
        result = f(*args, **kwargs)
        return result if _run.memo is None else substitute(result)

    return functools.update_wrapper(call, f)


# Methods and objects


def _method(method: MethodType) -> Any:
    function, owner = method.__func__, method.__self__
    inner = substitute(function)
    if inner is function:
        return method
    return MethodType(inner, owner if isinstance(owner, type) else substitute(owner))


_classes: dict[int, tuple[type, type | None]] = {}  # by the id of the class, which the entry keeps alive


def _object(value: Any) -> Any:
    """The same object with the methods of its class as programs: its attributes are the object's own, in one dict."""
    attributes = getattr(value, "__dict__", None)
    if attributes is None or isinstance(value, BaseException):
        return value
    if modes.tracer is not None:
        modes.tracer.watches(attributes)
    own = type(value)
    if id(own) not in _classes:
        if len(_classes) >= _KEPT:
            _classes.pop(next(iter(_classes)), None)
        _classes[id(own)] = own, _class(own)
    kind = _classes[id(own)][1]
    if kind is None:
        return value
    twin: Any = object.__new__(kind)
    twin.__dict__ = attributes
    return twin


def _class(kind: type) -> type | None:
    """A subclass whose Python methods are programs, None if there is no need for one or it can't be made."""
    own = [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in _FOREIGN]
    others = [base for base in kind.__mro__ if base not in own]
    if type(kind) is not type or others != [object] or any("__slots__" in vars(base) for base in own):
        return None
    if any("__init_subclass__" in vars(base) for base in own):
        return None
    methods: dict[str, Any] = {}
    for base in reversed(own):
        for name, member in vars(base).items():
            if type(member) is FunctionType:
                methods[name] = _Late(member)
            elif isinstance(member, property) and type(member.fget) is FunctionType:
                methods[name] = _LateProperty(member)
            elif isinstance(member, staticmethod | classmethod) and type(member.__func__) is FunctionType:
                methods[name] = _Late(member.__func__, type(member))
    if not methods:
        return None
    methods.setdefault("__getattribute__", _attribute)
    return type(kind.__name__, (kind,), {**methods, "__module__": kind.__module__, "__qualname__": kind.__qualname__})


def _attribute(owner: Any, name: str) -> Any:
    """An attribute of an object as a program sees it: arrays, functions and objects as globals are."""
    value = object.__getattribute__(owner, name)
    if modes.tracer is not None and not name.startswith("__"):
        own = object.__getattribute__(owner, "__dict__") if type(owner).__dictoffset__ else {}
        if name in own:
            modes.tracer.reads_name(own, name, value)
    if type(value) in _PLAIN or _run.memo is None or name.startswith("__") or type(value) is MethodType:
        return value
    return substitute(value)


class _Late:
    """A method that becomes a program when it is looked up."""

    def __init__(self, function: FunctionType, bind: type | None = None) -> None:
        self.function = function
        self.bind = bind

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        function = as_program(self.function)
        if self.bind is staticmethod:
            return function
        if self.bind is classmethod:
            return MethodType(function, kind)
        return function if owner is None else MethodType(function, owner)


class _LateProperty:
    def __init__(self, original: property) -> None:
        self.original = original

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self.original
        return as_program(self.original.fget)(owner)

    def __set__(self, owner: Any, value: Any) -> None:
        if self.original.fset is None:
            raise AttributeError("property has no setter")
        as_program(self.original.fset)(owner, value)
