"""MyGrad's universal functions: classes, as there, that call NumPy's over pullback's Tensors."""

import inspect

import numpy as np

from mygrad._functions import BOOL_ONLY, CONST_ONLY, FUNCTIONS, NO_DIFF, OVERRIDES, into
from mygrad._tensor import Operation, Tensor, _class_name, _NoValue, operation, raw, run


class _Meta(type):
    def __call__(cls, *args, out=None, where=True, dtype=None, constant=None, **kwargs):
        *args, out = args if len(args) > cls.nin else (*args, out)
        if len(args) != cls.nin:
            raise TypeError(f"{cls.__name__} takes {cls.nin} operands")
        if isinstance(out, tuple):
            if len(out) != 1:
                raise ValueError("one result goes into one array")
            (out,) = out
        named = {} if dtype is None else {"dtype": dtype}
        where = raw(where)
        if where is _NoValue or where is True:
            result = run(cls.__name__, cls.source, args, named | kwargs, constant if out is None else None)
            return result if out is None else into(out, result, constant)
        before = 0.0 if out is None else out if isinstance(out, np.ndarray) else out.copy(constant=out.constant)
        if isinstance(out, Tensor):
            before = +out

        def masked(before, *args):
            return np.where(where, cls.source(*args, **named), before)

        result = run(cls.__name__, masked, [before, *args], {}, constant if out is None else None)
        return result if out is None else into(out, result, constant)

    def __repr__(cls):
        return f"<mygrad-ufunc {cls.__name__!r}>"


class ufunc(metaclass=_Meta):
    """A universal function."""


class MyGradUnaryUfunc(ufunc):
    """Of one operand."""


class MyGradBinaryUfunc(ufunc):
    """Of two operands."""


class MyGradBinaryUfuncNoMask(MyGradBinaryUfunc):
    """Of two operands, without `where`."""


def _refused(name):
    def method(*_, **__):
        raise NotImplementedError(f"ufunc.{name}")

    return method


def _make(name, no_mask=False):
    source = getattr(np, name)
    kind = MyGradUnaryUfunc if source.nin == 1 else MyGradBinaryUfuncNoMask if no_mask else MyGradBinaryUfunc
    operands = [inspect.Parameter(f"x{i + 1}", inspect.Parameter.POSITIONAL_ONLY) for i in range(source.nin)]
    options = [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY) for key in ("out", "where", "dtype", "constant")]
    members = {key: getattr(source, key) for key in "nin nout nargs ntypes identity signature".split()}
    members["types"] = [code for code in source.types if not set(code) - set("efdbBhHiIlLqQ?->")]
    members |= {key: staticmethod(_refused(key)) for key in "at accumulate outer reduce reduceat".split()}
    members["resolve_dtypes"] = members["_resolve_dtypes_and_context"] = staticmethod(_refused("resolve_dtypes"))
    members["__doc__"] = f"NumPy's `{name}`.\n\nParameters: the operands, and out, where, dtype.\nReturns: a Tensor."
    members["__annotations__"] = {"return": Tensor}
    members["source"] = staticmethod(source)
    made = _Meta(source.__name__ if name in ("abs",) else name, (kind,), members)
    _Meta.__signature__ = None
    made.__signature__ = inspect.Signature(operands + options)
    operation(_class_name(made.__name__)).function = staticmethod(made)
    UFUNCS[name] = FUNCTIONS[name] = OVERRIDES[source] = made


UFUNCS = {}
for _name in (
    "abs absolute add arccos arccosh arcsin arcsinh arctan arctanh arctan2 cos cosh cbrt divide exp exp2 expm1 log "
    "log10 log1p log2 logaddexp logaddexp2 maximum minimum multiply negative positive power reciprocal sin sinh square "
    "sqrt subtract tan tanh true_divide"
).split():
    _make(_name)
_make("matmul", no_mask=True)
FUNCTIONS["abs"] = UFUNCS["abs"] = UFUNCS["absolute"]
FUNCTIONS["true_divide"] = UFUNCS["true_divide"] = UFUNCS["divide"]
operation("MatMul").function = staticmethod(UFUNCS["matmul"])


def ufunc_creator(op, **methods):
    """MyGrad's way to make universal functions of its operations; here the table above does that."""
    if not (isinstance(op, type) and issubclass(op, Operation)) or op.__name__ == "Einsum":
        raise TypeError("not the operation of a universal function")
    raise NotImplementedError("universal functions are NumPy's")


# NumPy's protocols


def _array_ufunc(self, source, method, *inputs, out=(), **kwargs):
    if method != "__call__":
        return NotImplemented
    made = OVERRIDES.get(source)
    if made is not None:
        if len(out) > 1:
            raise ValueError("one result goes into one array")
        return made(*inputs, out=out[0] if out else None, **kwargs)
    if source in CONST_ONLY:
        if any(isinstance(x, Tensor) and not x.constant for x in inputs):
            raise ValueError(f"{source.__name__} is for constants")
    elif source not in BOOL_ONLY:
        return NotImplemented
    if out:
        kwargs["out"] = tuple(map(raw, out))
    return source(*map(raw, inputs), **kwargs)


def _array_function(self, source, types, args, kwargs):
    made = OVERRIDES.get(source)
    if made is not None:
        return made(*args, **kwargs)
    if source in NO_DIFF:
        return source(*raw(list(args)), **{key: raw(value) for key, value in kwargs.items()})
    return NotImplemented


Tensor.__array_ufunc__ = _array_ufunc
Tensor.__array_function__ = _array_function


# Operators


def _operators(symbol, name):
    made = UFUNCS[name]

    def left(self, other):
        return made(self, other)

    def right(self, other):
        return made(other, self)

    def update(self, other):
        trial = self.data.copy()
        np.copyto(trial, made.source(trial, raw(other)), casting="same_kind")
        value = made(+self, other) if self._constant is False else made(self, other)
        self._assign(Ellipsis, value, name)
        return self

    setattr(Tensor, f"__{symbol}__", left)
    setattr(Tensor, f"__r{symbol}__", right)
    if symbol != "matmul":
        setattr(Tensor, f"__i{symbol}__", update)


for _symbol, _name in {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "pow": "power",
    "matmul": "matmul",
}.items():
    _operators(_symbol, _name)


def _power(self, other):
    plain = isinstance(other, int | float) or (isinstance(other, np.ndarray) and other.ndim == 0)
    if plain and other == 1:
        return UFUNCS["positive"](self)
    if plain and other == 2:
        return UFUNCS["square"](self)
    return UFUNCS["power"](self, other)


Tensor.__pow__ = _power
Tensor.__neg__ = lambda self: UFUNCS["negative"](self)
Tensor.__pos__ = lambda self: UFUNCS["positive"](self)
Tensor.__abs__ = lambda self: UFUNCS["absolute"](self)
for _symbol in ("lt", "le", "gt", "ge", "eq", "ne"):

    def _compare(self, other, _symbol=f"__{_symbol}__"):
        return getattr(np.asarray(self.data), _symbol)(raw(other))

    setattr(Tensor, f"__{_symbol}__", _compare)


def _floor_divide(a, b):
    if any(isinstance(x, Tensor) and not x.constant for x in (a, b)):
        raise ValueError("floor division is for constants")
    return np.floor_divide(raw(a), raw(b))


Tensor.__floordiv__ = lambda self, other: _floor_divide(self, other)
Tensor.__rfloordiv__ = lambda self, other: _floor_divide(other, self)
