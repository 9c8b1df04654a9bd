"""Gradient checks with autograd's call style: differences of second order against both modes, up to any order."""

from itertools import product

from autograd.core import _floats, make_jvp, make_vjp, vspace
from autograd.wrap_util import get_name, unary_to_nary

_STEP = 1e-6
_TOLERANCE = 1e-6


def scalar_close(a, b):
    """Whether two numbers agree, absolutely or in relation to their sum."""
    return abs(a - b) < _TOLERANCE * max(1, abs(a + b))


def check_equivalent(x, y):
    space = vspace(x)
    assert space == vspace(y), "the two are not alike"
    v = space.randn()
    assert scalar_close(space.inner_prod(x, v), space.inner_prod(y, v)), f"{x} is not {y}"


def _slope(f, x, v):
    space = vspace(x)
    high, low = (f(space.add(x, space.scalar_mul(v, side * _STEP / 2))) for side in (1, -1))
    out = vspace(high)
    return out.scalar_mul(out.add(high, out.scalar_mul(low, -1.0)), 1 / _STEP)


def _check(f, x, modes, order, name):
    x = _floats(x)
    v = vspace(x).randn()
    if "fwd" in modes:
        check_equivalent(make_jvp(f, x)(v)[1], _slope(f, x, v))
        if order > 1:
            _check(lambda p: make_jvp(f, p[0])(p[1])[1], (x, v), modes, order - 1, f"jvp_{name}")
    if "rev" in modes:
        pull, y = make_vjp(f, x)
        space = vspace(y)
        g = space.randn()
        back = vspace(x).covector(pull(space.covector(g)))
        assert vspace(back) == vspace(x), "the gradient is not like the argument"
        found, expected = vspace(x).inner_prod(v, back), space.inner_prod(g, _slope(f, x, v))
        assert scalar_close(expected, found), f"(VJP) check of {name} failed at {x}: {found}, by differences {expected}"
        if order > 1:
            _check(lambda p: make_vjp(f, p[0])[0](p[1]), (x, g), modes, order - 1, f"vjp_{name}")


@unary_to_nary
def check_grads(f, x, modes=("fwd", "rev"), order=2):
    _check(f, x, modes, order, get_name(f))


def combo_check(fun, argnums, *options, **named):
    """`check_grads` for every combination of the arguments, and of the keywords."""

    def check(*choices, **keywords):
        for args in product(*choices):
            for values in product(*keywords.values()):
                given = dict(zip(keywords, values, strict=True))
                check_grads(fun, argnums, *options, **named)(*args, **given)

    return check
