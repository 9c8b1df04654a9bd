"""MyGrad's functions: NumPy's, which pullback's Tensors answer, and a few of its own."""

import numpy as np

import pullback as pb
from mygrad._tensor import Tensor, _class_name, _NoValue, check_constant, operation, raw, run

FUNCTIONS = {}
OVERRIDES = {}  # NumPy's functions that give Tensors for Tensors


def function(name, call, *, views=False, numpy=None):
    """Enter a differentiable function; `call` works on arrays and on pullback's Tensors alike."""

    def entry(*args, constant=None, out=None, **kwargs):
        kwargs = {key: value for key, value in kwargs.items() if value is not _NoValue}
        args = [value for value in args if value is not _NoValue]
        if isinstance(out, tuple):
            (out,) = out
        if out is None:
            return run(name, call, args, kwargs, constant)
        return into(out, run(name, call, args, kwargs), constant)

    entry.__name__ = entry.__qualname__ = name
    call_with = call
    if views:

        def call(*args, **kwargs):
            return call_with(*args, **kwargs)

        call.views = True
    operation(_class_name(name)).function = staticmethod(entry)
    FUNCTIONS[name] = entry
    if numpy is not None:
        OVERRIDES[numpy] = entry
    return entry


def into(out, result, constant=None):
    """A result written into a Tensor, or into an array."""
    if isinstance(out, Tensor):
        if not np.can_cast(result.dtype, out.dtype, "same_kind"):
            raise TypeError(f"{result.dtype} does not go into {out.dtype}")
        out._assign(Ellipsis, result, "Out")
        return out
    np.copyto(out, result.data, casting="same_kind")
    result.data = out
    if constant is not None:
        result._constant = constant
    return result


def _entered(names, views=False):
    for name in names.split():
        source = getattr(np, name)
        function(name, source, views=views, numpy=source)


_entered("reshape transpose squeeze ravel swapaxes moveaxis expand_dims broadcast_to", views=True)
_entered("atleast_1d atleast_2d atleast_3d", views=True)
_entered("sum prod cumsum cumprod mean var std max min clip where einsum concatenate stack roll repeat")
FUNCTIONS["amax"] = OVERRIDES[np.amax] = FUNCTIONS["max"]
FUNCTIONS["amin"] = OVERRIDES[np.amin] = FUNCTIONS["min"]
norm = function("norm", np.linalg.norm, numpy=np.linalg.norm)
_multi_dot = function("multi_matmul", np.linalg.multi_dot, numpy=np.linalg.multi_dot)


def _getitem(x, key):
    return x[key]


_plain_where = FUNCTIONS["where"]


def where(condition, x=_NoValue, y=_NoValue, *, constant=None):
    """NumPy's `where`."""
    if x is _NoValue and y is _NoValue:
        return np.where(raw(condition))
    if x is None or y is None or x is _NoValue or y is _NoValue:
        raise ValueError("either both or neither of x and y are given")
    return _plain_where(raw(condition), x, y, constant=constant)


def einsum(*operands, optimize=False, out=None, constant=None):
    """NumPy's `einsum`; its operands may be in a sublist form."""
    return _plain_einsum(*operands, out=out, constant=constant)


_plain_einsum = FUNCTIONS["einsum"]
FUNCTIONS["where"] = OVERRIDES[np.where] = where
FUNCTIONS["einsum"] = OVERRIDES[np.einsum] = einsum


def multi_matmul(tensors, *, constant=None):
    """The product of matrices, in the cheapest order."""
    if len(tensors) < 2:
        raise ValueError("two matrices or more")
    if any(not 0 < np.ndim(t) < 3 for t in tensors):
        raise ValueError("vectors and matrices")
    return _multi_dot(tensors, constant=constant)


def _total(call):
    def total(*xs):
        result = xs[0]
        for x in xs[1:]:
            result = call(result, x)
        return result

    return total


for _name, _call in (("add_sequence", np.add), ("multiply_sequence", np.multiply)):
    _run = function(_name, _total(_call))

    def _sequence(*variables, constant=None, _run=_run):
        if len(variables) < 2:
            raise ValueError("a sequence of two or more tensors")
        return _run(*variables, constant=constant)

    _sequence.__name__ = _name
    FUNCTIONS[_name] = _sequence

for _name, _formula in {
    "sinc": np.sinc,
    "sec": lambda x: 1.0 / np.cos(x),
    "csc": lambda x: 1.0 / np.sin(x),
    "cot": lambda x: 1.0 / np.tan(x),
    "sech": lambda x: 1.0 / np.cosh(x),
    "csch": lambda x: 1.0 / np.sinh(x),
    "coth": lambda x: 1.0 / np.tanh(x),
    "arcsec": lambda x: np.arccos(1.0 / x),
    "arccsc": lambda x: np.arcsin(1.0 / x),
    "arccot": lambda x: np.where(x == 0, np.pi / 2, np.arctan(1.0 / np.where(x == 0, 1.0, x))) + 0.0 * x,
    "arccsch": lambda x: np.arcsinh(1.0 / x),
    "arccoth": lambda x: np.arctanh(1.0 / x),
}.items():
    function(_name, _formula)
function("arccot", lambda x: np.pi / 2 - np.arctan(x))


def logsumexp(x, axis=None, keepdims=False, *, constant=None):
    return _logsumexp(x, axis=axis, keepdims=keepdims, constant=constant)


_logsumexp = function("logsumexp", pb.scipy.special.logsumexp)


# Tensors from shapes and numbers


def tensor(x, dtype=None, *, constant=None, copy=True, ndmin=0):
    if not isinstance(ndmin, int | np.integer):
        raise TypeError("ndmin is an integer")
    same = isinstance(x, Tensor) and dtype in (None, x.dtype) and constant in (None, x.constant)
    if same and not copy:
        missing = int(ndmin) - x.ndim
        return x if missing <= 0 else x[(*(None,) * missing, ...)]
    if isinstance(x, Tensor) and constant is None and dtype is None:
        constant = x.constant
    return Tensor(x, dtype=dtype, constant=constant, copy=copy, ndmin=ndmin)


def astensor(x, dtype=None, *, constant=None):
    return tensor(x, dtype, constant=constant, copy=False)


def asarray(a, dtype=None, order=None):
    return np.asarray(raw(a), dtype=dtype, order=order)


def _creator(name):
    source = getattr(np, name)

    def create(*args, constant=None, **kwargs):
        like = [args[0]] if name.endswith("_like") and isinstance(args[0], Tensor) else []
        array = source(*map(raw, args), **{key: raw(value) for key, value in kwargs.items()})
        only = check_constant(constant, array.dtype)
        if constant is None:
            constant = True if only else bool(name.endswith("_like") and not like) or all(t.constant for t in like)
            constant = constant if name.endswith("_like") or only else False
        return Tensor(array if array.base is None else array.copy(), copy=False, constant=constant)

    create.__name__ = name
    return create


CREATORS = {
    name: _creator(name)
    for name in "arange linspace logspace geomspace empty ones zeros full empty_like ones_like zeros_like full_like "
    "identity eye".split()
}


OVERRIDES |= {getattr(np, name): CREATORS[name] for name in CREATORS if name.endswith("_like")}


def save(file, t):
    if not isinstance(t, Tensor):
        raise TypeError("a Tensor is saved")
    parts = {"data": t.data} if t.grad is None else {"data": t.data, "grad": t.grad}
    np.savez(file, **parts)


def load(file):
    with np.load(file) as parts:
        loaded = Tensor(parts["data"])
        loaded._grad = parts.get("grad")
    return loaded


# NumPy's functions without a derivative, on the arrays

NO_DIFF = {
    getattr(np, name)
    for name in "allclose bincount can_cast copyto may_share_memory shares_memory result_type min_scalar_type shape "
    "any argmax argmin isclose array_equal ndim size argsort argwhere nonzero".split()
}
BOOL_ONLY = {
    getattr(np, name)
    for name in "isnan isfinite isinf isnat signbit logical_not logical_and logical_or logical_xor greater "
    "greater_equal less less_equal equal not_equal".split()
}
CONST_ONLY = {
    getattr(np, name)
    for name in "floor_divide remainder mod fmod divmod rint sign heaviside gcd lcm floor ceil trunc".split()
}


def reduce_broadcast(g, shape):
    """A gradient summed to the shape that was broadcast; the suite's own checks use it."""
    if g.shape == shape:
        return g
    return pb.asarray(g).sum_to_size(*shape).numpy()


# Methods


def _method(name):
    entry = FUNCTIONS[name]

    def method(self, *args, **kwargs):
        return entry(self, *args, **kwargs)

    method.__name__ = name
    return method


for _name in "reshape transpose squeeze ravel swapaxes moveaxis sum prod cumsum cumprod mean var std max min".split():
    setattr(Tensor, _name, _method(_name))


def _reshape(self, *shape, constant=None):
    if not shape:
        raise TypeError("reshape takes a shape")
    return FUNCTIONS["reshape"](self, shape[0] if len(shape) == 1 else shape, constant=constant)


def _transpose(self, *axes, constant=None):
    if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], tuple | list)):
        (axes,) = axes
    return FUNCTIONS["transpose"](self, tuple(axes) if axes else None, constant=constant)


def _clip(self, a_min=None, a_max=None, out=None, *, constant=None):
    return FUNCTIONS["clip"](self, a_min, a_max, out=out, constant=constant)


def _flatten(self, *, constant=None):
    return _flat(self, constant=constant)


_flat = function("flatten", lambda x: x.flatten())
_get = function("get_item", _getitem, views=True)
Tensor.reshape, Tensor.transpose, Tensor.clip, Tensor.flatten = _reshape, _transpose, _clip, _flatten
Tensor.T = property(lambda self: _transpose(self))
Tensor.__getitem__ = lambda self, key: _get(self, tuple(map(raw, key)) if isinstance(key, tuple) else raw(key))
for _name in ("any", "argmax", "argmin"):

    def _on_array(self, *args, _name=_name, **kwargs):
        return getattr(np, _name)(self.data, *args, **kwargs)

    setattr(Tensor, _name, _on_array)
