"""How native code calls an op that has no lowering: through its NumPy evaluation, on the memory that the code has.

The code's `%context` is a tuple of functions. It calls one with the address of an array of pointers, those of the
operands and then those of the results, null for a result that nobody reads. It takes the GIL for that, so code that has
released the GIL may call too. A function may also be there to raise: that is how native code reports an error of its
own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pullback.values.shape import Spec

__all__ = ["call_ir", "make_callback"]

_READ, _WRITE = 0x100, 0x200  # PyBUF_READ, PyBUF_WRITE
_view = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)(
    ("PyMemoryView_FromMemory", ctypes.pythonapi)
)

_CALL = """\
declare i32 @PyGILState_Ensure()
declare void @PyGILState_Release(i32)
declare ptr @PyTuple_GetItem(ptr, i64)
declare ptr @PyLong_FromVoidPtr(ptr)
declare ptr @PyObject_CallOneArg(ptr, ptr)
declare void @Py_DecRef(ptr)

define internal i32 @pb.callback(ptr %context, i64 %i, ptr %pointers) noinline cold {
start:
  %gil = call i32 @PyGILState_Ensure()
  %function = call ptr @PyTuple_GetItem(ptr %context, i64 %i)
  %missing = icmp eq ptr %function, null
  br i1 %missing, label %exit, label %pass
pass:
  %address = call ptr @PyLong_FromVoidPtr(ptr %pointers)
  %full = icmp eq ptr %address, null
  br i1 %full, label %exit, label %call
call:
  %result = call ptr @PyObject_CallOneArg(ptr %function, ptr %address)
  call void @Py_DecRef(ptr %address)
  %raised = icmp eq ptr %result, null
  br i1 %raised, label %exit, label %done
done:
  call void @Py_DecRef(ptr %result)
  br label %exit
exit:
  %status = phi i32 [ -1, %start ], [ -1, %pass ], [ -1, %call ], [ 0, %done ]
  call void @PyGILState_Release(i32 %gil)
  ret i32 %status
}
"""


def call_ir() -> str:
    """IR text of `i32 @pb.callback(ptr %context, i64 %i, ptr %pointers)`: call the context's function number i.

    It gives 0, or -1 with the exception set, which the caller passes on.
    """
    return _CALL


def make_callback(
    evaluate: Callable[..., Any], args: Sequence[Any], params: Mapping[str, Any], results: Sequence[Spec]
) -> Callable[[int], None]:
    """A function for a context that computes `evaluate(*args, **params)` into the results' memory.

    An argument that is a `Spec` is an operand: its memory is read where it is (an array that cannot be written, a NumPy
    scalar if its shape is ()), so `evaluate` must not keep it. All others are given as they are.
    It raises what `evaluate` raises, and `TypeError` if results aren't as `results` says.
    """
    args, params = tuple(args), dict(params)
    operands = [(k, spec, _nbytes(spec)) for k, spec in enumerate(args) if isinstance(spec, Spec)]
    targets = [(spec, _nbytes(spec)) for spec in results]
    count = len(operands)
    block = ctypes.c_size_t * (count + len(targets))
    template = list(args)

    def call(address: int) -> None:
        pointers = block.from_address(address)[:]
        filled = template.copy()
        for (k, (shape, dtype), nbytes), pointer in zip(operands, pointers, strict=False):
            array: Any = np.ndarray(shape, dtype, _view(pointer, nbytes, _READ))
            filled[k] = array if shape else array[()]
        found = evaluate(*filled, **params)
        values = found if isinstance(found, tuple | list) else (found,)
        if len(values) != len(targets):
            raise TypeError(f"{_name(evaluate)} gave {len(values)} results, not {len(targets)}")
        for value, (spec, nbytes), pointer in zip(values, targets, pointers[count:], strict=True):
            value = np.asarray(value)
            if value.shape != spec.shape or value.dtype != spec.dtype:
                raise TypeError(f"{_name(evaluate)} gave {Spec(value.shape, value.dtype)}, not {spec}")
            if pointer:
                np.copyto(np.ndarray(spec.shape, spec.dtype, _view(pointer, nbytes, _WRITE)), value)

    return call


def _nbytes(spec: Spec) -> int:
    return spec.size * spec.dtype.itemsize


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", function))
