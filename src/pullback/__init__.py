"""pullback: gradients of Python numerical code, at native speed, and proved right.

`import pullback as pb` for the functional API and NumPy code; `import pullback as torch` for a PyTorch lesson.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi
from types import SimpleNamespace
from typing import TYPE_CHECKING

from pullback import check as check
from pullback import data as data
from pullback import distributions as distributions
from pullback import nn as nn
from pullback import optim as optim
from pullback import scipy as scipy
from pullback.check import (
    check_hessian as check_hessian,
)
from pullback.check import (
    check_jacobian as check_jacobian,
)
from pullback.check import (
    check_jvp as check_jvp,
)
from pullback.check import (
    check_vjp as check_vjp,
)
from pullback.check import (
    compare_gradients as compare_gradients,
)
from pullback.check import (
    gradient_of as gradient_of,
)
from pullback.check.adapters.names import register as _register
from pullback.check.report import Report
from pullback.check.report import page_maker as _page_maker
from pullback.compile import debug as debug
from pullback.compile.export.jax import export_jax as export_jax
from pullback.compile.jit import RecompilationWarning as RecompilationWarning
from pullback.compile.jit import UncompiledWarning as UncompiledWarning
from pullback.compile.jit import jit as jit
from pullback.compile.native import get_num_threads as get_num_threads
from pullback.compile.native import set_num_threads as set_num_threads
from pullback.compile.report import Show as _Show
from pullback.compile.report import page_maker as _show_maker
from pullback.io import CheckpointError as CheckpointError
from pullback.io import load as load
from pullback.io import save as save
from pullback.nn.functional import (
    alpha_dropout as alpha_dropout,
)
from pullback.nn.functional import (
    batch_norm as batch_norm,
)
from pullback.nn.functional import (
    bilinear as bilinear,
)
from pullback.nn.functional import (
    celu as celu,
)
from pullback.nn.functional import (
    cosine_similarity as cosine_similarity,
)
from pullback.nn.functional import (
    dropout as dropout,
)
from pullback.nn.functional import (
    embedding as embedding,
)
from pullback.nn.functional import (
    group_norm as group_norm,
)
from pullback.nn.functional import (
    layer_norm as layer_norm,
)
from pullback.nn.functional import (
    pairwise_distance as pairwise_distance,
)
from pullback.nn.functional import (
    pdist as pdist,
)
from pullback.nn.functional import (
    prelu as prelu,
)
from pullback.nn.functional import (
    rms_norm as rms_norm,
)
from pullback.nn.functional import (
    rrelu as rrelu,
)
from pullback.nn.functional import (
    selu as selu,
)
from pullback.nn.functional import (
    threshold as threshold,
)
from pullback.nn.functional.formulas import *
from pullback.nn.functional.native import *
from pullback.nn.functional.recurrent import *
from pullback.nn.utils import functional_call as functional_call
from pullback.tape.state import (
    enable_grad as enable_grad,
)
from pullback.tape.state import (
    inference_mode as inference_mode,
)
from pullback.tape.state import (
    is_grad_enabled as is_grad_enabled,
)
from pullback.tape.state import (
    no_grad as no_grad,
)
from pullback.tape.state import (
    set_grad_enabled as set_grad_enabled,
)
from pullback.tensor import fft_namespace as fft
from pullback.tensor import linalg_namespace as linalg
from pullback.tensor import masked_namespace as masked
from pullback.tensor import special_namespace as special
from pullback.tensor.arithmetic import *
from pullback.tensor.calculus import *
from pullback.tensor.comparison import *
from pullback.tensor.conversion import *
from pullback.tensor.core import Tensor as Tensor
from pullback.tensor.creation import *
from pullback.tensor.device import backends as backends
from pullback.tensor.device import cuda as cuda
from pullback.tensor.device import device as device
from pullback.tensor.dtypes import *
from pullback.tensor.formatting import (
    get_printoptions as get_printoptions,
)
from pullback.tensor.formatting import (
    printoptions as printoptions,
)
from pullback.tensor.formatting import (
    set_printoptions as set_printoptions,
)
from pullback.tensor.gathering import *
from pullback.tensor.inplace_names import *
from pullback.tensor.joining import *
from pullback.tensor.layout import *
from pullback.tensor.linalg_legacy import *
from pullback.tensor.linear import *
from pullback.tensor.numpy_namespace import numpy as numpy
from pullback.tensor.random import *
from pullback.tensor.rearranging import *
from pullback.tensor.reduction import *
from pullback.tensor.scanning import *
from pullback.tensor.scattering import *
from pullback.tensor.settings import *
from pullback.tensor.shaping import *
from pullback.tensor.short_time import *
from pullback.tensor.sorting import *
from pullback.tensor.special import *
from pullback.tensor.strided import *
from pullback.transforms import autograd_namespace as autograd
from pullback.transforms import func_namespace as func
from pullback.transforms.checkpoint import checkpoint as checkpoint
from pullback.transforms.checkpoint import checkpoint_sequential as _checkpoint_sequential
from pullback.transforms.checkpoint import remember as _remember
from pullback.transforms.custom import (
    custom_jvp as custom_jvp,
)
from pullback.transforms.custom import (
    custom_vjp as custom_vjp,
)
from pullback.transforms.custom import (
    stop_gradient as stop_gradient,
)
from pullback.transforms.forward import jvp as jvp
from pullback.transforms.gradient_tape import GradientTape as GradientTape
from pullback.transforms.implicit import custom_linear_solve as custom_linear_solve
from pullback.transforms.implicit import custom_root as custom_root
from pullback.transforms.reverse import (
    grad as grad,
)
from pullback.transforms.reverse import (
    hessian as hessian,
)
from pullback.transforms.reverse import (
    hvp as hvp,
)
from pullback.transforms.reverse import (
    jacfwd as jacfwd,
)
from pullback.transforms.reverse import (
    jacobian as jacobian,
)
from pullback.transforms.reverse import (
    jacrev as jacrev,
)
from pullback.transforms.reverse import (
    value_and_grad as value_and_grad,
)
from pullback.transforms.reverse import (
    vjp as vjp,
)
from pullback.transforms.sparse import sparse_hessian as sparse_hessian
from pullback.transforms.sparse import sparse_jacobian as sparse_jacobian
from pullback.transforms.trace import make_graph as make_graph
from pullback.transforms.variable import Variable as Variable
from pullback.transforms.variable import constant as constant
from pullback.transforms.vmap import vmap as vmap
from pullback.values.dtype import DTYPES as DTYPES
from pullback.values.dtype import DType as DType
from pullback.values.dtype import set_default_dtype as set_default_dtype
from pullback.values.shape import Size as Size

if TYPE_CHECKING:  # the package, which is called as its function
    from pullback.check import check as check  # type: ignore[no-redef]

__version__ = "0.1.0"
newaxis = None
dtype = DType
float16, float32, float64 = DTYPES["float16"], DTYPES["float32"], DTYPES["float64"]
complex64, complex128 = DTYPES["complex64"], DTYPES["complex128"]
int8, int16, int32, int64 = DTYPES["int8"], DTYPES["int16"], DTYPES["int32"], DTYPES["int64"]
uint8, uint16, uint32, uint64 = DTYPES["uint8"], DTYPES["uint16"], DTYPES["uint32"], DTYPES["uint64"]
bool = DTYPES["bool"]
half, float, double = float16, float32, float64  # PyTorch's short names
short, int, long = int16, int32, int64
cfloat, cdouble = complex64, complex128
utils = SimpleNamespace(  # PyTorch's places: utils.data.DataLoader, utils.checkpoint.checkpoint
    data=data, checkpoint=SimpleNamespace(checkpoint=_remember, checkpoint_sequential=_checkpoint_sequential)
)

func.functional_call = functional_call  # type: ignore[attr-defined]
for _module in (autograd, func, autograd.functional, autograd.function):  # importable under PyTorch's names
    _name = _module.__name__.rpartition(".")[2].removesuffix("_namespace")
    sys.modules[f"{__name__}.{'autograd.' if _module not in (autograd, func) else ''}{_name}"] = _module
_register(sys.modules[__name__])


def _check_page(reports: Sequence[Report]) -> str:
    from pullback.show import check_page

    return check_page(reports)


def _compile_page(show: _Show) -> str:
    from pullback.show import compile_page

    return compile_page(show)


_page_maker.append(_check_page)
_show_maker.append(_compile_page)
