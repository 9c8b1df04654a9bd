"""Elementwise ops in JAX: comparisons, arithmetic, elementary and special functions, activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.compile.export.jax_rules.entry import Entry, Rule
from pullback.compile.export.jax_rules.special import polynomial_rules, special_functions

__all__ = ["elementwise_entries"]

# The derivative that JAX takes of these is pullback's.
_NATIVE = frozenset("add sub mul div neg where exp log sin cos tanh square stop_gradient i0 i1 i0e i1e".split())

_SAME_NAME = """
    logical_and logical_or logical_xor logical_not isnan isinf isfinite signbit bitwise_and bitwise_or bitwise_xor
    bitwise_not left_shift right_shift gcd lcm isclose bitwise_count sign fmod copysign deg2rad rad2deg nextafter
    spacing maximum minimum heaviside nan_to_num floor ceil trunc round square sqrt cbrt exp exp2 expm1 log log2 log10
    log1p logaddexp logaddexp2 sin cos tan asin acos atan atan2 hypot sinh cosh tanh asinh acosh atanh abs angle where
""".split()


def elementwise_entries() -> dict[str, Entry]:
    """The entries, by the name of the op."""
    import jax.numpy as jnp
    from jax import lax

    rules: dict[str, Rule] = {name: getattr(jnp, name) for name in _SAME_NAME}
    rules |= {
        "eq": jnp.equal,
        "ne": jnp.not_equal,
        "lt": jnp.less,
        "le": jnp.less_equal,
        "gt": jnp.greater,
        "ge": jnp.greater_equal,
        "sgn": jnp.sign,
        "add": jnp.add,
        "sub": jnp.subtract,
        "mul": jnp.multiply,
        "div": jnp.true_divide,
        "neg": jnp.negative,
        "pow": jnp.power,
        "stop_gradient": lax.stop_gradient,
        "lerp": lambda a, b, w: a + w * (b - a),
        "ldexp": lambda a, b: a * 2.0**b,
        "frexp": lambda x: jnp.frexp(x)[0],
        "frexp_exponent": lambda x: jnp.frexp(x)[1],
        "clamp": lambda x, min=None, max=None: jnp.clip(x, min, max),
        "rsqrt": lambda x: 1 / jnp.sqrt(x),
        "reciprocal": lambda x: 1 / x,
        "xlogy": lambda x, y: x * jnp.log(jnp.where((x == 0) & ~jnp.isnan(y), 1, y)),
        "xlog1py": lambda x, y: x * jnp.log1p(jnp.where((x == 0) & ~jnp.isnan(y), 0, y)),
        "logit": lambda x: jnp.log(x / (1 - x)),
        "cosm1": lambda x: -2 * jnp.square(jnp.sin(x / 2)),
    }

    def whole(function: Rule) -> Rule:
        """A division of integers, whose result for a divisor of 0 is NumPy's 0."""

        def divide(a: Any, b: Any) -> Any:
            a, b = jnp.broadcast_arrays(a, b)
            if not jnp.issubdtype(a.dtype, jnp.integer):
                return function(a, b)
            return jnp.where(b == 0, 0, function(a, jnp.where(b == 0, 1, b)))

        return divide

    rules |= {"remainder": whole(jnp.remainder), "floor_divide": whole(jnp.floor_divide), "fmod": whole(jnp.fmod)}

    def sinc(x: Any, order: int = 0) -> Any:
        """As `ops.kernels.sinc`, both branches computed."""
        z = math.pi * x
        near = jnp.abs(z) < 1 + order
        far, small = jnp.where(near, 1.0, x), jnp.where(near, z, 0.0)
        y = jnp.sin(math.pi * far) / (math.pi * far)
        for n in range(1, order + 1):
            y = (math.pi ** (n - 1) * jnp.sin(math.pi * far + n * (math.pi / 2)) - n * y) / far
        first = (order + 1) // 2
        series = jnp.zeros_like(small)
        for k in range(first + 12 + 2 * order, first - 1, -1):
            series = series * (small * small) + (-1) ** k / ((2 * k + 1) * math.factorial(2 * k - order))
        return jnp.where(near, math.pi**order * small ** (2 * first - order) * series, y)

    rules |= _activations(sinc=sinc)
    polynomials = polynomial_rules()
    rules |= special_functions() | polynomials
    apart = {"where", *polynomials}  # one operand is not a number of the result's kind
    entries = {name: Entry(rule, name not in apart, name in _NATIVE) for name, rule in rules.items()}

    def gate(d: Any, g: Any) -> Any:
        return jnp.where(g == 0, 0, d)

    def push_gate(tangents: Any, _d: Any, g: Any) -> Any:
        """As the op's vjp: where g moves, d is linear in it, and its slope counts at g = 0 too."""
        td, tg = tangents
        return td if td is None or tg is not None else gate(td, g)

    return entries | {"gate": Entry(gate, push=push_gate)}


def _activations(**rules: Rule) -> dict[str, Rule]:
    import jax.numpy as jnp
    from jax.scipy import special

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + jnp.exp(-x))

    def softplus(x: Any, beta: float, threshold: float) -> Any:
        z = x * beta
        return jnp.where(z > threshold, x, (jnp.maximum(z, 0) + jnp.log1p(jnp.exp(-jnp.abs(z)))) / beta)

    def elu(x: Any, alpha: float, scale: float, rate: float) -> Any:
        return jnp.where(x > 0, scale * x, (scale * alpha) * jnp.expm1(rate * jnp.minimum(x, 0)))

    return rules | {
        "sigmoid": sigmoid,
        "softplus": softplus,
        "elu": elu,
        "relu": lambda x: jnp.maximum(x, 0),
        "leaky_relu": lambda x, slope: jnp.where(x > 0, x, x * slope),
        "hardtanh": lambda x, low, high: jnp.clip(x, low, high),
        "hardsigmoid": lambda x: jnp.clip(x + 3, 0, 6) / 6,
        "hardswish": lambda x: x * (jnp.clip(x + 3, 0, 6) / 6),
        "threshold": lambda x, threshold, value: jnp.where(x <= threshold, np.asarray(value, x.dtype), x),
        "hardshrink": lambda x, lambd: jnp.where((x >= -lambd) & (x <= lambd), 0, x),
        "softshrink": lambda x, lambd: x - jnp.clip(x, -lambd, lambd),
        "log_sigmoid": lambda x: jnp.minimum(x, 0) - jnp.log1p(jnp.exp(-jnp.abs(x))),
        "silu": lambda x: x * sigmoid(x),
        "mish": lambda x: x * jnp.tanh(softplus(x, 1.0, 20.0)),
        "gelu": lambda x: x * (0.5 * special.erfc(x * -math.sqrt(0.5))),
        "gelu_tanh": lambda x: x * sigmoid(x * ((x * x * 0.044715 + 1) * (2 * math.sqrt(2 / math.pi)))),
        "softsign": lambda x: x / (jnp.abs(x) + 1),
        "tanhshrink": lambda x: x - jnp.tanh(x),
    }
