"""The compiler's mathematics library: accuracy in ulps against mpmath, special values, vectorisation.

Every function is compiled into a loop over arrays, for the host with all its features and for the plain member of its
family (without fused multiply-add on x86-64), and called through ctypes.
"""

import ctypes
import math
import platform
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

from pullback.compile.llvm import mathlib
from pullback.compile.llvm.mathlib.code import FORMATS
from pullback.compile.llvm.mathlib.coefficients import CONSTANTS, TWO_OVER_PI

TYPES = {"double": np.float64, "float": np.float32}
ALL = [(name, type) for name in mathlib.FUNCTIONS for type in TYPES]
X86 = platform.machine().lower() in ("x86_64", "amd64")
# Multiplications and additions of whole vectors.
PACKED = r"\bv?(mul|add|fn?m(add|sub)\d*)p[sd]\b" if X86 else r"\b(fmul|fmla|fadd)\b.*\.(2d|4s)"
LIMIT = 2.0  # ulps

LOOP = """
define void @loop_{name}_{type}({parameters}, ptr noalias %out, i64 %count) {{
entry:
  br label %body
body:
  %i = phi i64 [0, %entry], [%next, %body]
{loads}
  %r = call {type} {symbol}({operands})
  %place = getelementptr {type}, ptr %out, i64 %i
  store {type} %r, ptr %place
  %next = add nuw nsw i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %body, label %done
done:
  ret void
}}
"""

REFERENCES: dict[str, Callable[..., Any]] = {
    **{name: getattr(mpmath, name) for name in "exp expm1 sinh cosh tanh log log10 log1p asinh acosh atanh".split()},
    **{name: getattr(mpmath, name) for name in "sin cos tan asin acos atan atan2 erf erfc hypot".split()},
    "exp2": lambda x: mpf(2) ** x,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "log2": lambda x: mpmath.log(x) / mpmath.log(2),
    "softplus": lambda x: max(x, 0) + mpmath.log1p(mpmath.exp(-abs(x))),
    "log_sigmoid": lambda x: min(x, 0) - mpmath.log1p(mpmath.exp(-abs(x))),
    "pow": lambda x, y: x**y,
    "cbrt": lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)),
}
# What NumPy has, by its name for the function.
NUMPY: dict[str, Callable[..., Any]] = {name: getattr(np, name) for name in mathlib.FUNCTIONS if hasattr(np, name)}
NUMPY |= {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "log_sigmoid": lambda x: np.minimum(x, -0.0) - np.log1p(np.exp(-np.abs(x))),
    "erf": np.vectorize(math.erf, otypes=[float]),
    "erfc": np.vectorize(math.erfc, otypes=[float]),
}


class Library(NamedTuple):
    """The compiled loops, the assembly of the module, and what keeps the code alive."""

    loops: dict[tuple[str, str], Any]
    assembly: str
    engine: Any

    def __call__(self, name: str, *xs: Any, dtype: Any = None) -> Any:
        """The function of arrays (of the dtype, or that of the first)."""
        arrays = [np.ascontiguousarray(x, dtype or np.asarray(xs[0]).dtype) for x in xs]
        out = np.empty_like(arrays[0])
        type = "double" if out.dtype == np.float64 else "float"
        self.loops[name, type](*(a.ctypes.data for a in (*arrays, out)), out.size)
        return out

    def body(self, name: str, type: str) -> str:
        """The assembly of a loop."""
        label = f"loop_{name}_{type}"
        found = re.search(
            rf"^_?{label}:\n(.*?)^\S*func_end|^_?{label}:\n(.*?)\.cfi_endproc", self.assembly, re.M | re.S
        )
        assert found
        return found.group(0)


def loop(name: str, type: str) -> str:
    names = [f"x{k}" for k in range(mathlib.FUNCTIONS[name])]
    loads = [f"  %p{x} = getelementptr {type}, ptr %{x}, i64 %i\n  %v{x} = load {type}, ptr %p{x}" for x in names]
    return LOOP.format(
        name=name,
        type=type,
        symbol=mathlib.symbol(name, type),
        parameters=", ".join(f"ptr noalias %{x}" for x in names),
        loads="\n".join(loads),
        operands=", ".join(f"{type} %v{x}" for x in names),
    )


def compiled(host: bool) -> Library:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    target = llvm.Target.from_default_triple()
    if host:
        machine = target.create_target_machine(llvm.get_host_cpu_name(), features.flatten(), opt=3, jit=True)
    else:
        machine = target.create_target_machine("x86-64" if X86 else "generic", "", opt=3, jit=True)
    fma, scales = not X86 or (host and features.get("fma", False)), host and features.get("avx512f", False)
    source = mathlib.source(ALL, fma=fma, scales=scales)
    parts = [*sorted(source.declarations), source.definitions, *(loop(*key) for key in ALL)]
    module = llvm.parse_assembly("\n".join(parts))
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    assembly = machine.emit_assembly(module)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    loops = {}
    for name, type in ALL:
        kinds = [ctypes.c_void_p] * (mathlib.FUNCTIONS[name] + 1)
        address = engine.get_function_address(f"loop_{name}_{type}")
        loops[name, type] = ctypes.CFUNCTYPE(None, *kinds, ctypes.c_int64)(address)
    return Library(loops, assembly, engine)


@pytest.fixture(scope="module", params=["host", "plain"])
def library(request: pytest.FixtureRequest) -> Library:
    return compiled(request.param == "host")


def draw(type: str, count: int, seed: int = 0) -> Any:
    """Numbers of any bits, moderate ones, near 0, 1, multiples of π/4 and the overflow of exp, subnormal ones."""
    r = np.random.default_rng(seed)
    dtype = TYPES[type]
    info = np.finfo(dtype)
    integer = np.int64 if type == "double" else np.int32
    end = 745 if type == "double" else 104
    whole = np.iinfo(integer)
    signs = r.choice([-1, 1], count)
    with np.errstate(over="ignore", under="ignore"):
        parts = [
            r.integers(whole.min, whole.max, count, dtype=integer).view(dtype),
            r.uniform(-2, 2, count),
            r.uniform(-30, 30, count),
            r.uniform(-end, end, count),
            r.uniform(0.93 * end, 1.02 * end, count) * signs,
            signs * np.exp(r.uniform(-end, 10, count)),
            signs + r.uniform(-1, 1, count) * 2.0 ** -r.integers(0, info.nmant, count),
            r.integers(1, 10000, count) * (np.pi / 4) * (1 + r.integers(-3, 4, count) * float(info.eps)),
            r.integers(1, 2**40, count) * (np.pi / 2),
            signs * r.uniform(0, 1, count) * info.tiny,
        ]
        return np.concatenate([p.astype(dtype) for p in parts])


def operands(name: str, type: str, count: int) -> tuple[Any, ...]:
    x = draw(type, count)
    if mathlib.FUNCTIONS[name] == 1:
        return (x,)
    r = np.random.default_rng(1)
    y = r.permutation(draw(type, count, seed=2))
    if name == "pow":  # results of all sizes
        end = 745 if type == "double" else 104
        near = 1 + r.uniform(-1, 1, x.size // 2) * 2.0 ** -r.integers(1, 20, x.size // 2)
        base = np.concatenate([near, np.exp(r.uniform(-30, 30, x.size // 2))]).astype(x.dtype)
        with np.errstate(all="ignore"):
            power = (r.uniform(-end, end, base.size) / np.log(base.astype(float))).astype(x.dtype)
        x, y = np.concatenate([x, base]), np.concatenate([y, power])
    return x, y


def ulps(got: float, want: Any, type: str) -> float:
    """The error of a number in units in the last place of the exact one."""
    info = np.finfo(TYPES[type])
    if isinstance(want, mpmath.mpc) or mpmath.isnan(want):
        return 0.0 if math.isnan(got) else math.inf
    if math.isnan(got):
        return math.inf
    if mpmath.isinf(want):
        return 0.0 if got == want else math.inf
    exponent = max(mpmath.frexp(want)[1] - 1, int(info.minexp)) if want else int(info.minexp)
    exponent = min(exponent, int(info.maxexp) - 1)
    exact = min(max(want, -(mpf(2) ** int(info.maxexp))), mpf(2) ** int(info.maxexp))
    value = math.copysign(1, got) * mpf(2) ** int(info.maxexp) if math.isinf(got) else mpf(got)
    return float(abs(value - exact) / mpf(2) ** (exponent - int(info.nmant)))


def exact(name: str, *xs: float) -> Any:
    """The value by mpmath: NaN, complex or infinite where there is no real one."""
    if not all(map(math.isfinite, xs)):
        return None
    try:
        with mp.workprec(160):
            # subnormal and huge arguments, where an expansion would take all the digits there are
            if name in ("exp", "expm1", "exp2", "sinh", "cosh", "tanh", "sigmoid"):
                xs = (min(max(xs[0], -1e4), 1e4),)
            if name == "erfc":
                xs = (min(max(xs[0], -50.0), 50.0),)
            if name in ("log1p", "expm1", "asinh", "softplus", "log_sigmoid", "acosh") or abs(xs[0]) < 1e-30:
                with mp.workprec(1400 if abs(xs[0]) < 1e-30 or name in ("softplus", "log_sigmoid") else 200):
                    return REFERENCES[name](*map(mpf, xs))
            if name == "pow" and (xs[0] == 0 or abs(xs[1] * math.log2(abs(xs[0]))) > 5000):
                return None
            return REFERENCES[name](*map(mpf, xs))
    except (ValueError, ZeroDivisionError):
        return None


@pytest.mark.parametrize(("name", "type"), ALL)
def test_accuracy_against_mpmath(library: Library, name: str, type: str) -> None:
    xs = operands(name, type, 30)
    got = library(name, *xs)
    for *x, y in zip(*(x.tolist() for x in xs), got.tolist()):
        want = exact(name, *x)
        assert want is None or ulps(y, want, type) <= LIMIT, (x, y, want)


@pytest.mark.parametrize("name", mathlib.FUNCTIONS)
def test_accuracy_in_single_precision(library: Library, name: str) -> None:
    """Many numbers, against NumPy in double precision."""
    xs = operands(name, "float", 2_000 if name in ("erf", "erfc") else 50_000)
    with np.errstate(all="ignore"):
        want = NUMPY[name](*(x.astype(float) for x in xs))
        check_many(library(name, *xs), want)


@pytest.mark.parametrize("name", [name for name in mathlib.FUNCTIONS if name not in ("erf", "erfc")])
def test_accuracy_in_double_precision(library: Library, name: str) -> None:
    """Many numbers, against NumPy in extended precision, or with its own error where there is none."""
    xs = operands(name, "double", 20_000)
    with np.errstate(all="ignore"):
        want = NUMPY[name](*(x.astype(np.longdouble) for x in xs))
        check_many(library(name, *xs), want, LIMIT if np.finfo(np.longdouble).nmant > 52 else LIMIT + 1)


def check_many(got: Any, want: Any, limit: float = LIMIT) -> None:
    """Hold the results against ones in a wider format."""
    info = np.finfo(got.dtype)
    rounded = want.astype(got.dtype)
    ordinary = np.isfinite(rounded) & np.isfinite(got)
    np.testing.assert_array_equal(got[~ordinary], rounded[~ordinary])
    exponent = np.frexp(np.where(ordinary, want, 1))[1] - 1
    unit = np.ldexp(want.dtype.type(1), np.maximum(exponent, info.minexp) - info.nmant)
    error = np.abs(got.astype(want.dtype) - np.where(ordinary, want, 0)) / unit
    assert error[ordinary].max() <= limit


SPECIAL = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1e30, -1e30]


@pytest.mark.parametrize(("name", "type"), ALL)
def test_special_values(library: Library, name: str, type: str) -> None:
    """Zeros with their signs, infinities and NaN are those of C."""
    info = np.finfo(TYPES[type])
    edges = [info.max, -info.max, info.tiny, -info.tiny, info.smallest_subnormal, -info.smallest_subnormal]
    values = np.array([*SPECIAL, *edges], TYPES[type])
    xs = [a.ravel() for a in np.meshgrid(*[values] * mathlib.FUNCTIONS[name])]
    got = library(name, *xs)
    with np.errstate(all="ignore"):
        if name in ("sigmoid", "softplus", "log_sigmoid"):
            limits = {"sigmoid": (0.0, 1.0), "softplus": (0.0, math.inf), "log_sigmoid": (-math.inf, -0.0)}[name]
            want = np.where(np.isinf(xs[0]), np.where(xs[0] < 0, *limits), NUMPY[name](xs[0]))
        else:
            want = NUMPY[name](*xs).astype(got.dtype)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=4 * info.eps, atol=4 * info.smallest_subnormal)
    zero = (got == 0) & (want == 0)
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


HARD = [
    6381956970095103 * 2.0**797,
    1e22,
    2.0**1023,
    2.0**45,
    2.0**53 - 1,
    np.finfo(float).max,
    5e-324,
    22 / 7,
    355 / 113,
]
HARD_SINGLE = [16367173 * 2.0**72, 2.0**127, 2.0**15, 32767.998, 1e20, float(np.finfo(np.float32).max), 1e-45]


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
@pytest.mark.parametrize("type", TYPES)
def test_reduction_of_arguments(library: Library, name: str, type: str) -> None:
    """Numbers close to multiples of π/2, and huge ones, of both signs, side by side."""
    k = np.concatenate([np.arange(1, 400), 2 ** np.arange(9, 60), 3 ** np.arange(6, 36)])
    near = [float(mpf(int(n)) * mpmath.pi / 2) for n in k]
    r = np.random.default_rng(4)
    huge = 2.0 ** r.uniform(14, 127 if type == "float" else 1023, 400)
    x = np.concatenate([HARD if type == "double" else HARD_SINGLE, near, huge]).astype(TYPES[type])
    x = np.concatenate([x, -x])
    got = library(name, x)
    for a, y in zip(x.tolist(), got.tolist()):
        with mp.workprec(160):
            assert ulps(y, REFERENCES[name](mpf(a)), type) <= LIMIT, a
    if name != "tan":
        assert np.abs(got).max() <= 1


@pytest.mark.parametrize(("name", "type"), ALL)
def test_neighbours_do_not_matter(library: Library, name: str, type: str) -> None:
    """An element of a vector is computed like one alone."""
    xs = operands(name, type, 10)
    alone = [library(name, *(x[i : i + 1] for x in xs))[0] for i in range(xs[0].size)]
    np.testing.assert_array_equal(library(name, *xs), alone)


@pytest.mark.parametrize(("name", "type"), ALL)
def test_loops_are_vectorised(library: Library, name: str, type: str) -> None:
    body = library.body(name, type)
    assert re.search(PACKED, body)
    calls = re.findall(r'^\s+(?:callq?|bl|movabsq)[ \t]+\$?"?([A-Za-z_][\w.]*)', body, re.M)
    assert [callee for callee in calls if ".patch" not in callee] == []
    assert bool(calls) == (name in ("sin", "cos", "tan"))


def test_no_function_is_missing_from_the_tables() -> None:
    assert set(REFERENCES) == set(NUMPY) == set(mathlib.FUNCTIONS)


def test_source_holds_what_is_asked_for_once() -> None:
    both = mathlib.source([("sin", "double"), ("sin", "float"), ("exp", "float"), ("sin", "float")])
    assert both.definitions.count("define internal float @pb.sin.f32(") == 1
    assert both.definitions.count("@pb.two_over_pi = ") == 1
    assert "@pb.cos" not in both.definitions
    assert both == mathlib.source({("exp", "float"), ("sin", "float"), ("sin", "double")})
    assert "declare double @llvm.fma.f64(double, double, double)" in both.declarations
    assert not any("llvm.fma." in line for line in mathlib.source(ALL, fma=False).declarations)
    assert mathlib.source([]).definitions.strip() == ""


@pytest.mark.parametrize(("name", "type"), CONSTANTS)
def test_constants_are_sums_of_their_parts(name: str, type: str) -> None:
    with mp.workprec(300):
        two, ten, pi = mpmath.log(2), mpmath.log(10), mpmath.pi
        numbers = {"LN2": two, "LOG2E": 1 / two, "LOG10E": 1 / ten, "LOG10_2": two / ten}
        numbers |= {"HALF_PI": pi / 2, "QUARTER_PI": pi / 4, "THIRD": mpf(1) / 3}
        parts = CONSTANTS[name, type]
        error = abs(sum(map(mpf, parts)) - numbers[name])
        assert error <= mpf(2) ** -FORMATS[type].fraction * abs(parts[-1])
    with mp.workprec(1400):
        assert mpmath.floor(2 / mpmath.pi * mpf(2) ** 1280) == TWO_OVER_PI
