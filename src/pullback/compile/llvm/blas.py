"""BLAS and LAPACK for compiled code: the addresses of SciPy's routines, and how many threads they may use.

The routines have Fortran's interface: every argument is a pointer, matrices are column-major, integers have 32 bits.

OpenBLAS knows AVX-512 on Intel's processors only: on AMD's it takes AVX2 kernels, at half the speed. It reads in the
environment which kernels to take when it is loaded, so it is told while SciPy's copy is, if that happens here for the
first time and the user has not chosen. NumPy's copy, which is another one, keeps what it has.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pullback.compile.llvm.engine import host_features

__all__ = ["address", "get_num_threads", "set_num_threads"]

_PREFIXES = ("scipy_openblas_", "openblas_", "MKL_", "bli_thread_")
_SUFFIXES = ("", "64_", "_64")


@functools.cache
def address(name: str) -> int:
    """The address of a routine by its name in lower case: "dgemm", "strsm", "dpotrf".

    Raises `ImportError` if SciPy isn't installed, `KeyError` if it has no such routine, and `RuntimeError` if its
    routines take 64-bit integers.
    """
    for module in _modules():
        capsule = module.__pyx_capi__.get(name)
        if capsule is not None:
            _check_integers()
            return _pointer(capsule)
    raise KeyError(f"SciPy has no BLAS or LAPACK routine {name!r}")


def set_num_threads(n: int) -> bool:
    """Have SciPy's and NumPy's BLAS use at most `n` threads. False if neither can be told: then it is up to the
    environment (OMP_NUM_THREADS, VECLIB_MAXIMUM_THREADS) before the process starts.
    """
    if n < 1:
        raise ValueError(f"the number of threads is at least 1, not {n}")
    setters = _functions("set_num_threads", "Set_Num_Threads")
    for setter in setters:
        setter(ctypes.c_int(n))
    return bool(setters)


def get_num_threads() -> int | None:
    """How many threads SciPy's BLAS (NumPy's, without SciPy) uses at most. None if that cannot be told."""
    getters = _functions("get_num_threads", "Get_Max_Threads")
    return int(getters[0]()) if getters else None


@functools.cache
def _modules() -> tuple[Any, Any]:
    try:
        with _kernels():
            from scipy.linalg import cython_blas, cython_lapack
    except ImportError as error:
        raise ImportError("compiled products and factorisations need SciPy: pip install 'pullback[compile]'") from error
    return cython_blas, cython_lapack


@contextlib.contextmanager
def _kernels() -> Iterator[None]:
    """OpenBLAS, if it is loaded meanwhile, takes AVX-512 kernels where it would not see that it can."""
    variable = "OPENBLAS_CORETYPE"
    if "scipy.linalg" in sys.modules or variable in os.environ or not _is_amd_with_avx512():
        yield
        return
    os.environ[variable] = "SkylakeX"
    try:
        yield
    finally:
        del os.environ[variable]


def _is_amd_with_avx512() -> bool:
    cpu, features = host_features()
    return cpu.startswith("znver") and all(features.get(f"avx512{part}") for part in ("f", "cd", "bw", "dq", "vl"))


def _pointer(capsule: Any) -> int:
    api = ctypes.pythonapi
    name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))(capsule)
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    return int(get(capsule, name))


@functools.cache
def _check_integers() -> None:
    """Raise `RuntimeError` unless LAPACK writes its version into the lower halves of 64-bit integers only.

    A routine that is given integers of the wrong width corrupts memory, so it is asked, not the build's description.
    """
    version = np.full(3, -1, np.int64)
    places = [version[k:].ctypes.data for k in range(3)]
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)(_pointer(_modules()[1].__pyx_capi__["ilaver"]))(*places)
    halves = version.view(np.int32).reshape(3, 2)
    if np.count_nonzero((halves == -1).all(axis=0)) != 1:
        raise RuntimeError("SciPy's BLAS and LAPACK take 64-bit integers; compiled code needs a build with 32-bit ones")


@functools.cache
def _functions(plain: str, mkl: str) -> tuple[Callable[..., Any], ...]:
    """The function of that name in each BLAS that NumPy and SciPy are linked with."""
    files = [np._core._multiarray_umath.__file__]  # type: ignore[attr-defined]
    with contextlib.suppress(ImportError):
        files.insert(0, _modules()[0].__file__)
    found: dict[int | None, Callable[..., Any]] = {}
    for file in files:
        library = ctypes.CDLL(file)  # it is loaded; the look-up goes on in the libraries it needs
        for prefix in _PREFIXES:
            for suffix in _SUFFIXES:
                function = getattr(library, f"{prefix}{mkl if prefix == 'MKL_' else plain}{suffix}", None)
                if function is not None:
                    found.setdefault(ctypes.cast(function, ctypes.c_void_p).value, function)
    return tuple(found.values())
