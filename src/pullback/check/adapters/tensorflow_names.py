"""TensorFlow programs on pullback's tape: the common names of `tf`, `tf.math`, `tf.nn` and `tf.linalg`, by NumPy's."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any, Final

import numpy as np

from pullback.check.adapters.names import Namespace, root
from pullback.check.adapters.tensorflow import ADAPTER
from pullback.tape.node import new_handle
from pullback.transforms.program import as_program

__all__ = ["stand_in"]

_SAME: Final = (
    "abs sin cos tan sinh cosh tanh exp expm1 log1p sqrt square sign floor ceil maximum minimum add subtract multiply "
    "divide matmul tensordot einsum reshape transpose where zeros ones zeros_like ones_like concat stack squeeze "
    "expand_dims tile cumsum cumprod eye roll broadcast_to"
)
_RENAMED: Final = {
    "abs": "abs",
    "math.log": "log",
    "math.pow": "power",
    "pow": "power",
    "negative": "negative",
    "reduce_sum": "sum",
    "reduce_mean": "mean",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_prod": "prod",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "atan2": "arctan2",
    "math.angle": "angle",
    "math.conj": "conj",
    "math.real": "real",
    "math.imag": "imag",
    "concat": "concatenate",
    "linalg.matmul": "matmul",
    "linalg.inv": "linalg.inv",
    "linalg.det": "linalg.det",
    "linalg.solve": "linalg.solve",
    "linalg.cholesky": "linalg.cholesky",
    "linalg.trace": "trace",
    "linalg.diag": "diag",
    "linalg.diag_part": "diagonal",
    "linalg.matrix_transpose": "matrix_transpose",
    "norm": "linalg.norm",
    "linalg.norm": "linalg.norm",
}
_NN: Final = "relu elu selu gelu relu6 leaky_relu softmax log_softmax silu softplus"


def stand_in(value: Any) -> Any:
    """What a program on the tape sees of an object of TensorFlow's."""
    import tensorflow as tf

    if isinstance(value, ModuleType):
        path = value.__name__.partition("tensorflow._api.v2.")[2] if value is not tf else ""
        return Namespace(value, path, _table(), _named)
    if isinstance(value, tf.Tensor | tf.Variable):
        array = ADAPTER.array(value)
        return new_handle(array.astype(np.result_type(array, np.float64))) if array.dtype.kind in "fc" else array
    if isinstance(value, tf.DType):
        return np.dtype(value.as_numpy_dtype)
    inner = getattr(value, "python_function", None) or getattr(value, "_f", None)
    if inner is not None and not isinstance(value, type):  # tf.function; tf.custom_gradient, which has two results
        return as_program(inner) if hasattr(value, "python_function") else lambda *xs: as_program(inner)(*xs)[0]
    name = getattr(value, "__name__", "")
    if callable(value):
        return next((f for path in (name, f"math.{name}", f"nn.{name}") if (f := _table().get(path))), NotImplemented)
    return NotImplemented


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    turned = root().numpy.matrix_transpose
    return root().numpy.matmul(turned(a) if transpose_a else a, turned(b) if transpose_b else b)


def _named(path: str, value: Any) -> Any:
    """What stands for `tf.<path>`, which is in no table."""
    found = stand_in(value)
    if found is NotImplemented:
        raise AttributeError(f"pullback has nothing in place of tf.{path}")
    return found


@functools.cache
def _table() -> dict[str, Any]:
    pb = root()

    def numpy_name(path: str) -> Any:
        found = pb.numpy
        for name in path.split("."):
            found = getattr(found, name)
        return found

    table = {name: numpy_name(name) for name in _SAME.split() if name != "concat"}
    table |= {name: numpy_name(ours) for name, ours in _RENAMED.items()}
    for name in [name for name in table if "." not in name]:
        table.setdefault(f"math.{name}", table[name])
    functional = pb.nn.functional
    table |= {f"nn.{name}": getattr(functional, name) for name in _NN.split()}
    table |= {"nn.softmax": lambda x, axis=-1: pb.softmax(x, axis)}
    table |= {"nn.log_softmax": lambda x, axis=-1: pb.log_softmax(x, axis)}
    table |= dict.fromkeys(("sigmoid", "math.sigmoid", "nn.sigmoid"), pb.sigmoid)
    table |= dict.fromkeys(("nn.tanh",), pb.tanh)
    table |= dict.fromkeys(("math.rsqrt",), pb.rsqrt)
    table |= dict.fromkeys(("math.softplus", "nn.softplus"), functional.softplus)
    table |= dict.fromkeys(("math.reduce_logsumexp", "reduce_logsumexp"), pb.scipy.special.logsumexp)
    table |= dict.fromkeys(
        ("constant", "convert_to_tensor", "identity", "cast"), lambda x, *_, **__: pb.numpy.asarray(x)
    )
    table |= dict.fromkeys(("matmul", "linalg.matmul"), _matmul)
    table |= {
        "stop_gradient": pb.stop_gradient,
        "range": pb.numpy.arange,
        "gather": lambda x, i, axis=0: pb.numpy.take(x, i, axis),
    }
    return table | {"function": lambda f, **_: as_program(f), "clip_by_value": pb.numpy.clip}
