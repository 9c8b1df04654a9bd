"""autograd's operators, from pullback's."""

import numpy as np

import pullback as pb
from autograd import core
from autograd.core import _conj, _floats, vspace
from autograd.wrap_util import unary_to_nary

__all__ = [
    "checkpoint",
    "deriv",
    "elementwise_grad",
    "grad",
    "grad_and_aux",
    "grad_named",
    "hessian",
    "hessian_tensor_product",
    "hessian_vector_product",
    "holomorphic_grad",
    "jacobian",
    "make_ggnvp",
    "make_hvp",
    "make_jvp",
    "make_vjp",
    "multigrad_dict",
    "tensor_jacobian_product",
    "value_and_grad",
]


make_vjp = unary_to_nary(core.make_vjp)
make_jvp = unary_to_nary(core.make_jvp)


@unary_to_nary
def grad(fun, x):
    return value_and_grad(fun)(x)[1]


@unary_to_nary
def value_and_grad(fun, x):
    value, pull = pb.vjp(fun, _floats(x))
    if np.size(value) != 1 or np.result_type(value).kind != "f":
        raise TypeError(f"one real number is differentiated, not {np.shape(value)} of {np.result_type(value)}")
    return value, _conj(pull(np.ones_like(value))[0])


@unary_to_nary
def grad_and_aux(fun, x):
    gradient, aux = pb.grad(fun, has_aux=True)(x)
    return gradient, aux


@unary_to_nary
def elementwise_grad(fun, x):
    pull, value = make_vjp(fun)(x)
    if np.iscomplexobj(value):
        raise TypeError("elementwise_grad is of real results")
    return pull(np.ones_like(value))


@unary_to_nary
def deriv(fun, x):
    return make_jvp(fun)(x)(vspace(x).ones())[1]


@unary_to_nary
def holomorphic_grad(fun, x):
    if not np.iscomplexobj(x):
        raise TypeError("the argument must be complex")
    pull, value = make_vjp(lambda x: np.real(fun(x)))(x)
    return pull(np.ones_like(value))


@unary_to_nary
def jacobian(fun, x):
    return pb.jacobian(fun)(_floats(x))


@unary_to_nary
def hessian(fun, x):
    return pb.jacobian(pb.grad(fun))(_floats(x))


@unary_to_nary
def make_hvp(fun, x):
    pull, _ = make_vjp(pb.grad(fun))(x)
    return pull, x


def make_ggnvp(f, g=lambda x: 0.5 * np.sum(x**2, axis=-1), f_argnum=0):
    @unary_to_nary
    def maker(f, x):
        back, inner = make_vjp(f)(x)
        curvature, _ = make_vjp(pb.grad(g))(inner)
        return lambda v: back(curvature(make_jvp(f)(x)(v)[1]))

    return maker(f, f_argnum)


def hessian_tensor_product(fun, argnum=0):
    def product(*args):
        *rest, tensor = args
        return grad(lambda *xs: np.tensordot(grad(fun, argnum)(*xs), tensor, np.ndim(tensor)), argnum)(*rest)

    return product


hessian_vector_product = hessian_tensor_product


def tensor_jacobian_product(fun, argnum=0):
    def product(*args):
        *rest, tensor = args
        return jacobian(lambda *xs: np.tensordot(tensor, fun(*xs), np.ndim(tensor)), argnum)(*rest)

    return product


def grad_named(fun, name):
    import inspect

    return grad(fun, list(inspect.signature(fun).parameters).index(name))


def multigrad_dict(fun):
    """The gradients by the names of the parameters."""
    import inspect

    names = list(inspect.signature(fun).parameters)

    def gradients(*args, **kwargs):
        bound = inspect.signature(fun).bind(*args, **kwargs)
        bound.apply_defaults()
        return pb.grad(lambda given: fun(**given))({name: _floats(bound.arguments[name]) for name in names})

    return gradients


def checkpoint(fun):
    return pb.checkpoint(fun)
