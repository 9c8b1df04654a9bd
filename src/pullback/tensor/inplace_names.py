"""The in-place forms that follow from methods alone: `x.name_()` writes what `x.name()` gives; and PyTorch's functions
of the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pullback.tape.node import Handle
from pullback.tensor.mutation import rewrite

METHODS: Final = """
    acosh addbmm addmm addmv addr arccos arccosh arcsin arcsinh arctan arctan2 arctanh asinh atan2 atanh baddbmm
    bitwise_left_shift bitwise_right_shift copysign cumprod cumsum deg2rad digamma erf erfc erfinv fix float_power gcd
    greater greater_equal heaviside hypot i0 igamma igammac lcm ldexp less less_equal lgamma logit mvlgamma nextafter
    not_equal polygamma rad2deg renorm sinc xlogy
""".split()
FUNCTIONS: Final = """
    abs acos acosh addmv arccos arccosh arcsin arcsinh arctan arctanh as_strided asin asinh atan atanh ceil clamp
    clamp_max clamp_min clip cos cosh deg2rad detach erf erfc exp exp2 expm1 fill fix floor frac gcd i0 index_put lcm
    ldexp log log10 log1p log2 logit nan_to_num neg negative rad2deg reciprocal relu round rsqrt sigmoid sin sinc sinh
    sqrt square tan tanh trunc xlogy
""".split()

__all__ = [f"{name}_" for name in FUNCTIONS]


def _method(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return rewrite(self, lambda x, *others: getattr(x, name)(*others, **kwargs), *args)

    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"`{name}`, in place."
    return method


class NamedInplaceMethods:
    """In-place forms of methods, as methods of `Tensor`."""


for _name in METHODS:
    setattr(NamedInplaceMethods, f"{_name}_", _method(_name))


def _function(name: str) -> Callable[..., Any]:
    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(input, Handle):
            raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
        return getattr(input, name)(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`input.{name}(...)`."
    return function


for _name in __all__:
    globals()[_name] = _function(_name)
detach = _function("detach")
__all__ += ["detach"]
