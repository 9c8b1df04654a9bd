"""Functions with derivatives of their own, as autograd declares them, over `custom_vjp`."""

import functools

import pullback as pb
from autograd.core import VSpace as VSpace
from autograd.core import vspace as vspace

_makers = {}


def primitive(f):
    """A function whose derivative is given by `defvjp`."""

    @functools.wraps(f)
    def run(*args, **kwargs):
        custom = pb.custom_vjp(lambda *xs: f(*xs, **kwargs))

        def forward(*xs):
            y = f(*xs, **kwargs)
            return y, (y, xs)

        def backward(saved, g):
            y, xs = saved
            makers = _makers.get(run, {})
            return tuple(
                makers[i](y, *xs, **kwargs)(g) if makers.get(i) else pb.numpy.zeros_like(x) for i, x in enumerate(xs)
            )

        custom.defvjp(forward, backward)
        return custom(*args)

    return run


def defvjp(run, *makers, argnums=None):
    """`makers[i](value, *args)(g)` is the cotangent of argument `argnums[i]`."""
    _makers.setdefault(run, {}).update(zip(argnums or range(len(makers)), makers, strict=False))


def defjvp(*_):
    """Forward rules: `primitive` is a function of reverse mode here."""


notrace_primitive = primitive
