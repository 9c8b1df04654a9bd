"""From LLVM IR text to native code in memory: parse, optimise for this machine, emit an object, link it with ORC.

llvmlite is imported at the first use. Every `Code` has a linker of its own: 0.3 ms each, and with it everything goes
when the `Code` is dropped, which a shared one does not give back.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Code", "Timings", "address_of", "fingerprint", "has_fma", "host_features", "link", "load"]

_lock = threading.RLock()  # llvmlite's calls are atomic one by one; a compilation is several on shared targets
# Joining scalar statements into vectors pays in straight code; in loops, which are vectorised already, it soon takes
# most of the time. How many lines of either are worth it:
_STRAIGHT_LINES, _LOOP_LINES = 2000, 120


class Timings(NamedTuple):
    """What compiling took, in milliseconds."""

    parse: float = 0.0
    optimize: float = 0.0
    emit: float = 0.0
    link: float = 0.0


class Code:
    """A function in memory, which is freed when this is dropped.

    address   where the function is.
    object    the object file it was linked from: position-independent, with no address of this process in it.
    timings   what making it took.
    """

    __slots__ = ("_library", "_source", "address", "object", "timings")

    def __init__(self, library: _Library, name: str, image: bytes, timings: Timings, source: _Source | None) -> None:
        self.address = library.address
        self.object = image
        self.timings = timings
        self._library = library
        self._source = source

    @property
    def ir(self) -> str:
        """The optimised IR as text, made anew. Raises `ValueError` if the code was linked without its source."""
        return str(self._optimized())

    @property
    def asm(self) -> str:
        """The assembly as text, made anew. Raises `ValueError` if the code was linked without its source."""
        return str(_host().machine.emit_assembly(self._optimized()))

    def pin(self) -> None:
        """Never free it: who calls it may do so until the process ends, after all modules have gone."""
        for thing in self._library.held:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))

    def _optimized(self) -> Any:
        if self._source is None:
            raise ValueError("this code was linked from an object: give link(..., ir=...) its IR to look at it")
        with _lock:
            module = _parse(self._source.ir)
            _optimize(module, self._source)
            return module


class _Source(NamedTuple):
    """What is compiled, and how."""

    ir: str
    vectorize: bool
    slp: bool


def _source(ir: str, vectorize: bool, slp: bool | None) -> _Source:
    if slp is None:
        slp = ir.count("\n") <= (_LOOP_LINES if "  br " in ir else _STRAIGHT_LINES)
    return _Source(ir, vectorize, slp)


def _release(held: list[Any]) -> None:
    while held:
        held.pop()


class _Library:
    """A linker and the one library in it, which goes before its linker when this is dropped.

    The finalizer holds both: the garbage collector would finalize them in any order.
    """

    __slots__ = ("__weakref__", "address", "held")

    def __init__(self, jit: Any, tracker: Any, name: str) -> None:
        self.address: int = tracker[name]
        self.held = [jit, tracker]
        weakref.finalize(self, _release, self.held).atexit = False


class _Host(NamedTuple):
    machine: Any
    triple: str
    layout: str
    fingerprint: tuple[str, ...]


@functools.cache
def _llvm() -> Any:
    """llvmlite's binding to LLVM. Raises `ImportError` that names the extra, if it isn't installed."""
    try:
        import llvmlite
        import llvmlite.binding
    except ImportError as error:
        raise ImportError("pb.jit compiles with llvmlite: pip install 'pullback[compile]'") from error
    with _lock:
        llvmlite.binding.initialize_native_target()
        llvmlite.binding.initialize_native_asmprinter()
    return llvmlite.binding


@functools.cache
def host_features() -> tuple[str, dict[str, bool]]:
    """LLVM's name of this processor, and which features it has."""
    llvm = _llvm()
    try:
        return llvm.get_host_cpu_name(), dict(llvm.get_host_cpu_features())
    except RuntimeError:  # not known of this processor: the name alone stands for them
        return llvm.get_host_cpu_name(), {}


@functools.cache
def _host() -> _Host:
    """The machine that runs this, as a target."""
    llvm = _llvm()
    import llvmlite

    cpu, features = host_features()
    text = ",".join(f"{'+' if on else '-'}{feature}" for feature, on in sorted(features.items()))
    if features.get("avx512f"):
        text += ",-prefer-256-bit"
    triple = llvm.get_process_triple()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=text, opt=3, reloc="pic", codemodel="small"
    )
    version = ".".join(map(str, llvm.llvm_version_info))
    return _Host(machine, triple, str(machine.target_data), (triple, cpu, text, version, llvmlite.__version__))


def has_fma() -> bool:
    """Whether the host fuses multiplications and additions; else `llvm.fma` would be a call to libm."""
    return not _host().triple.startswith(("x86", "i386", "i686")) or host_features()[1].get("fma", False)


def fingerprint() -> tuple[str, ...]:
    """What an object depends on besides its IR: triple, processor, its features, the versions of LLVM and llvmlite."""
    return _host().fingerprint


def address_of(symbol: str) -> int | None:
    """The address of a symbol that the process or a library it has loaded exports, or None."""
    found = _llvm().address_of_symbol(symbol)
    return None if found is None else int(found)


def _parse(ir: str) -> Any:
    host, llvm = _host(), _llvm()
    # A context of its own: what is interned in the global one is never freed.
    module = llvm.parse_assembly(ir, llvm.create_context())
    module.triple = host.triple
    module.data_layout = host.layout
    module.verify()
    return module


_builders: dict[tuple[bool, bool], tuple[Any, int]] = {}  # pass builders, and how often each has been used
_USES = 32


def _builder(source: _Source) -> Any:
    """A pass builder for a module. Making one leaks a kilobyte, and using one again makes it slower, so each is used a
    number of times.
    """
    key = source.vectorize, source.slp
    builder, uses = _builders.get(key, (None, _USES))
    if uses == _USES:
        llvm = _llvm()
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = options.loop_unrolling = source.vectorize
        options.slp_vectorization = source.slp
        builder, uses = llvm.create_pass_builder(_host().machine, options), 0
    _builders[key] = builder, uses + 1
    return builder


def _optimize(module: Any, source: _Source) -> None:
    llvm = _llvm()
    builder = _builder(source)
    passes = builder.getModulePassManager()
    try:
        passes.run(module, builder)
    finally:
        # Dropping it alone frees nothing: the `_dispose` that it inherits first is the empty one.
        llvm.NewPassManager._dispose(passes)
        passes.detach()


def load(
    ir: str,
    name: str = "run",
    imports: Mapping[str, int] = {},
    *,
    vectorize: bool = True,
    slp: bool | None = None,
) -> Code:
    """Compile a module of IR text for this machine, and give its function `name`.

    `imports` are the addresses of what the text declares and the process doesn't export. `vectorize`: whether to
    vectorise and unroll loops. `slp`: whether to join scalar statements into vectors; by default if the text is short
    enough. Raises `RuntimeError` with LLVM's words if the text isn't
    valid IR, or if a symbol isn't found.
    """
    clock = time.perf_counter
    source = _source(ir, vectorize, slp)
    with _lock:
        host = _host()
        start = clock()
        module = _parse(ir)
        parsed = clock()
        _optimize(module, source)
        optimized = clock()
        image = bytes(host.machine.emit_object(module))
        emitted = clock()
        try:
            library = _link(image, name, imports)
        except RuntimeError as error:
            missing = _undefined(module, imports)
            if not missing:
                raise
            raise RuntimeError(f"the process exports no {', '.join(missing)}, nor is it in imports") from error
        linked = clock()
    steps = (parsed - start, optimized - parsed, emitted - optimized, linked - emitted)
    return Code(library, name, image, Timings(*(1e3 * step for step in steps)), source)


def link(
    image: bytes,
    name: str = "run",
    imports: Mapping[str, int] = {},
    *,
    ir: str | None = None,
    vectorize: bool = True,
    slp: bool | None = None,
) -> Code:
    """Link an object that `load` has emitted, on a machine of the same `fingerprint()`, and give its function `name`.

    With `ir`, the text it was compiled from (and how), the `Code` can show its optimised IR and its assembly.
    Raises `RuntimeError` if it isn't an object, lacks the function, or a symbol isn't found.
    """
    with _lock:
        start = time.perf_counter()
        library = _link(image, name, imports)
        took = 1e3 * (time.perf_counter() - start)
    return Code(library, name, image, Timings(link=took), None if ir is None else _source(ir, vectorize, slp))


def _undefined(module: Any, imports: Mapping[str, int]) -> list[str]:
    """What a module declares and nobody defines."""
    declared = [v.name for v in (*module.functions, *module.global_variables) if v.is_declaration]
    return [n for n in declared if not n.startswith("llvm.") and n not in imports and address_of(n) is None]


def _link(image: bytes, name: str, imports: Mapping[str, int]) -> _Library:
    llvm = _llvm()
    jit = llvm.create_lljit_compiler(_host().machine, use_jit_link=sys.platform != "win32", suppress_errors=True)
    builder = llvm.JITLibraryBuilder().add_object_img(image).add_current_process().export_symbol(name)
    for symbol, address in imports.items():
        builder.import_symbol(symbol, address)
    return _Library(jit, builder.link(jit, name), name)
