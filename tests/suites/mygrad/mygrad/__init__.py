"""MyGrad's module names over pullback, as far as its own test suite asks for them.

Its modules of one subject each are made here, from what the three files beside this one hold.
"""

import sys
from types import ModuleType

import numpy as _np

from mygrad import _functions, _nnet, _tensor, _ufuncs
from mygrad._functions import *
from mygrad._functions import CREATORS as _CREATORS
from mygrad._functions import FUNCTIONS as _FUNCTIONS
from mygrad._functions import asarray, astensor, load, save, tensor
from mygrad._tensor import Locks as _Locks
from mygrad._tensor import Operation as _Operation
from mygrad._tensor import Tensor, mem_guard_off, mem_guard_on, no_autodiff
from mygrad._tensor import operation as _operation
from mygrad._ufuncs import ufunc


def _module(name, **members):
    """A module of MyGrad's, with those above it."""
    full = f"{__name__}.{name}"
    found = sys.modules.get(full)
    if found is None:
        found = sys.modules[full] = ModuleType(full)
        found.__path__ = []
        above, _, last = name.rpartition(".")
        setattr(_module(above) if above else sys.modules[__name__], last, found)
    vars(found).update(members)
    return found


class _Flags(ModuleType):
    """A module whose names are the modes' flags."""

    def __init__(self, name, **others):
        super().__init__(name)
        vars(self).update(others)

    def __getattr__(self, name):
        return getattr(_tensor._State, name)

    def __setattr__(self, name, value):
        setattr(_tensor._State, name, value)


def _named(source, names):
    return {name: getattr(source, name) for name in names.split()}


globals().update(_FUNCTIONS)
globals().update(_CREATORS)
for _name in "pi e inf nan euler_gamma newaxis".split():
    globals()[_name] = getattr(_np, _name)
for _name in "bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split():
    globals()[_name] = getattr(_np, _name)
_NO_GRAD = _functions.NO_DIFF | _functions.BOOL_ONLY | _functions.CONST_ONLY
for _source in _NO_GRAD:
    globals().setdefault(_source.__name__, _source)
mod = _np.remainder
__version__ = "2.3"


def mem_guard_active():
    return _tensor._State.MEM_GUARD


def turn_memory_guarding_off():
    _tensor._State.MEM_GUARD = False


def turn_memory_guarding_on():
    _tensor._State.MEM_GUARD = True


_module("errors", **_named(_tensor, "InvalidBackprop InvalidGradient DisconnectedView"))
_module("operation_base", Operation=_Operation, **_named(_tensor, "_NoValue _NoValueType"))
_module(
    "tensor_base",
    Tensor=Tensor,
    CONSTANT_ONLY_DTYPES=_tensor.CONSTANT_ONLY_DTYPES,
    _REGISTERED_NO_DIFF_NUMPY_FUNCS=_functions.NO_DIFF,
    _REGISTERED_BOOL_ONLY_UFUNC=_functions.BOOL_ONLY,
    _REGISTERED_CONST_ONLY_UFUNC=_functions.CONST_ONLY,
    _REGISTERED_DIFFERENTIABLE_NUMPY_FUNCS=_functions.OVERRIDES,
)
_module("no_grad_funcs", __all__=[*(source.__name__ for source in _NO_GRAD), "mod"])
_module("ufuncs", **_named(_ufuncs, "ufunc MyGradUnaryUfunc MyGradBinaryUfunc"))
_module("ufuncs._ufunc_creators", **_named(_ufuncs, "ufunc_creator MyGradBinaryUfuncNoMask"))
_module("math.misc.funcs", matmul=_FUNCTIONS["matmul"], multi_matmul=_functions.multi_matmul)
_module("math.misc.ops", MatMul=_operation("Matmul"))
_operation("Matmul").__new__ = lambda cls: object.__new__(cls)
_module(
    "math.arithmetic.ops",
    **{n: _operation(n) for n in "Add Divide Multiply Negative Power Subtract Positive Square".split()},
)
_module("math.sequential.ops", Sum=_operation("Sum"))
_module("math.exp_log.ops", Exp=_operation("Exp"))
_module("math._special", logsumexp=_functions.logsumexp)
_module("linalg", norm=_functions.norm, multi_dot=_functions.multi_matmul)
_module("linalg.ops", EinSum=_operation("Einsum"))
_module("linalg.funcs", einsum=_functions.einsum)
_module("tensor_creation.funcs", **_CREATORS)
_module("_utils", reduce_broadcast=_functions.reduce_broadcast)
_module(
    "_utils.lock_management",
    _array_counter=_Locks.counter,
    _array_tracker=_Locks.tracker,
    _views_waiting_for_unlock=_Locks.waiting,
    MEM_GUARD=True,
)
sys.modules["mygrad._utils.graph_tracking"] = _module("_utils").graph_tracking = _Flags("mygrad._utils.graph_tracking")


class _Shape:
    """Stands for the type of a shape."""


class _DTypeLikeReals:
    """Stands for the types of dtypes."""


class _ArrayLike:
    """Stands for the types that arrays are made of."""


_module("typing", ArrayLike=_ArrayLike, DTypeLikeReals=_DTypeLikeReals, DTypeLike=_DTypeLikeReals, Shape=_Shape)
_module(
    "random",
    **{
        name: (lambda draw: lambda *args, constant=None, **kw: Tensor(draw(*args, **kw), constant=constant))(
            getattr(_np.random, name)
        )
        for name in "rand randint randn random random_integers random_sample ranf sample".split()
        if hasattr(_np.random, name)
    },
    seed=_np.random.seed,
)
_activations = "elu glu hard_tanh leaky_relu logsoftmax relu selu sigmoid soft_sign softmax"
_losses = (
    "focal_loss softmax_focal_loss margin_ranking_loss multiclass_hinge negative_log_likelihood softmax_crossentropy"
)
_module("nnet", **_named(_nnet, f"{_activations} {_losses}"))
_module("nnet.activations", tanh=_FUNCTIONS["tanh"], **_named(_nnet, _activations))
_module("nnet.activations.selu", _ALPHA=1.6732632423543772848170429916717, _SCALE=1.0507009873554804934193349852946)
_module("nnet").activations.selu = _nnet.selu
_module("nnet.losses", **_named(_nnet, _losses))
_module("nnet.layers", **_named(_nnet, "batchnorm conv_nd max_pool gru"))
_module("nnet.layers.utils", sliding_window_view=_nnet.sliding_window_view)
_module("nnet.layers.batchnorm", batchnorm=_nnet.batchnorm)
_module("nnet.layers.gru", gru=_nnet.gru)
_module(
    "nnet.initializers",
    **_named(_nnet, "uniform normal he_uniform he_normal glorot_uniform glorot_normal dirac constant"),
)
multi_matmul = _functions.multi_matmul
sliding_window_view = _nnet.sliding_window_view
_module("_tensor_core_ops.indexing", **dict.fromkeys(("_arr", "_is_bool_array_index", "_is_int_array_index")))
