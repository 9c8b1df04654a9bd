"""Random programs, as Python source: each line computes from earlier ones, and is run as it is written, so that shapes,
dtypes and magnitudes are known. What is discontinuous is only computed of numbers that carry no rounding error.

`NUMPY` writes functions of arrays with NumPy, `TENSOR` functions of Tensors with PyTorch's methods.
"""

import textwrap
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import pullback as pb

LARGEST = 1e4
"""No line is kept whose result is larger: rounding errors stay comparable with the tolerance."""


class Program:
    """A program being written: its source, and the values of its names so far."""

    def __init__(self, draw: Callable[[Any], Any], tensors: bool) -> None:
        self.draw = draw
        self.tensors = tensors
        self.scope: dict[str, Any] = {"np": np, "pb": pb}
        self.names: list[str] = []
        self.exact: set[str] = set()
        self.lines: list[str] = []
        self.inputs: list[np.ndarray] = []
        self.written: set[str] = set()

    # Drawing

    def pick(self, choices: Any) -> Any:
        return self.draw(st.sampled_from(list(choices)))

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def flag(self) -> bool:
        return self.draw(st.booleans())

    def shuffled(self, things: Any) -> list[Any]:
        return self.draw(st.permutations(list(things)))

    def array(self, name: str) -> np.ndarray:
        value = self.scope[name]
        return np.asarray(value.detach().numpy() if isinstance(value, pb.Tensor) else value)

    def kind(self, name: str) -> str:
        return self.array(name).dtype.kind

    def value(self, kinds: str = "biuf", exact: bool = False, least: int = 0) -> str | None:
        """The name of a value of such dtypes, without rounding error if demanded, of at least so many axes."""
        fit = [
            name
            for name in self.names
            if self.kind(name) in kinds and (not exact or name in self.exact) and self.array(name).ndim >= least
        ]
        return self.pick(fit) if fit else None

    def partner(self, name: str, kinds: str = "biuf", exact: bool = False) -> str:
        """A value that broadcasts with another, or a number."""
        shape = self.array(name).shape
        fit = [
            other
            for other in self.names
            if self.kind(other) in kinds
            and (not exact or other in self.exact)
            and _broadcasts(shape, self.array(other).shape)
        ]
        numbers = {"f": ["0.5", "-1.25", "2.0"], "i": ["2", "-1", "3"], "u": ["2"], "b": ["True"]}
        if not self.tensors:
            numbers["f"] += ["np.float32(0.75)", "np.float64(-0.5)"]
            numbers["i"] += ["np.int64(2)", "np.int32(-3)"]
        return self.pick(fit * 3 + [n for kind in kinds for n in numbers[kind]])

    def slices(self, shape: tuple[int, ...], none: bool = True, basic: bool = False) -> str:
        """What stands between the brackets of a read or a write."""
        parts = []
        negative = not self.tensors
        for n in shape[: self.number(1, max(1, len(shape)))]:
            choice = self.number(0, 9)
            if choice < 2 and n:
                parts.append(str(self.number(-n, n - 1)))
            elif choice < 3 and n and not basic and not any(p.startswith("np.array") for p in parts):
                inner = [self.number(-n, n - 1) for _ in range(self.number(1, 4))]
                parts.append(f"np.array({inner})" if not self.tensors else f"pb.tensor({inner})")
            elif choice < 5:
                step = self.number(1, 3)
                sign = "-" if negative and self.flag() else ""
                parts.append(f"::{sign}{step}")
            else:
                a, b = self.number(-n - 1, n), self.number(-n - 1, n + 1)
                parts.append(f"{a}:{b}")
            if none and self.number(0, 5) == 0:
                parts.append("None")
        if self.number(0, 5) == 0 and len([p for p in parts if p != "None"]) < len(shape):
            parts.insert(0, "...")
            # After an ellipsis the last axes are meant: only what suits any length.
            parts = [p if ":" in p or p in ("...", "None") else "::2" for p in parts]
        return ", ".join(parts) or "..."

    # Writing

    def try_line(self, line: str, exact: bool, result: bool = True) -> bool:
        """Add a line if it runs and its numbers are tame; `exact`: it adds no rounding error to exact operands."""
        name = f"v{len(self.names)}"
        source = f"{name} = {line}" if result else line
        before = {n: _copy(self.scope[n]) for n in self.names if _writable(self.scope[n])} if not result else {}
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the mean of nothing
                exec(source, self.scope)
        except (ValueError, TypeError, IndexError, RuntimeError, OverflowError):
            self._restore(before)
            return False
        for n in [name] if result else self.names:
            if not _tame(self.array(n)):
                self._restore(before)
                return False
        self.lines.append(source)
        if result:
            self.names.append(name)
            if exact and _on_grid(self.array(name)):
                self.exact.add(name)
        else:
            self.exact -= {n for n in self.names if not exact or not _on_grid(self.array(n))}
        return True

    def _restore(self, before: dict[str, Any]) -> None:
        for n, value in before.items():
            if isinstance(value, pb.Tensor):
                self.scope[n].detach().copy_(value)
            else:
                self.scope[n][...] = value

    @property
    def precise(self) -> bool:
        """Whether no number has been rounded to less than float64."""
        return all(self.array(name).dtype != np.float32 for name in self.names)

    def finish(self) -> str:
        arguments = ", ".join(f"x{i}" for i in range(len(self.inputs)))
        last = self.names[-min(3, len(self.names)) :]
        body = [f"v{i} = x{i}" for i in range(len(self.inputs))] + self.lines + [f"return ({', '.join(last)},)"]
        return f"def program({arguments}):\n" + textwrap.indent("\n".join(body), "    ")


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, pb.Tensor) else np.array(value)


def _writable(value: Any) -> bool:
    """Whether a value is an array or Tensor with memory of its own for each element."""
    memory = value._value if isinstance(value, pb.Tensor) else value
    return isinstance(memory, np.ndarray) and memory.flags.writeable and 0 not in memory.strides


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


def _tame(x: np.ndarray) -> bool:
    if x.size > 20_000 or x.dtype.kind == "c" or x.dtype == np.float16:
        return False
    if x.dtype.kind != "f":
        return True
    return bool(np.all(np.isfinite(x))) and float(np.max(np.abs(x), initial=0.0)) <= LARGEST


def _on_grid(x: np.ndarray) -> bool:
    """Whether sums and products of a few of these numbers are exact in float32."""
    if x.dtype.kind != "f":
        return True
    scaled = x.astype(np.float64) * 64
    return bool(np.all(scaled == np.round(scaled))) and float(np.max(np.abs(x), initial=0.0)) <= 64


# The lines. Each function tries one.

SMOOTH = ["np.sin({})", "np.cos({})", "np.tanh({})", "np.exp(-np.abs({}))", "np.log1p(np.square({}))", "np.arctan({})",
          "np.sqrt(np.square({}) + 1)", "1 / (1 + np.exp(-{}))", "{} ** 2", "np.expm1(np.tanh({}))",
          "np.logaddexp({}, 0.5)"]  # fmt: skip
EXACT = ["np.abs({})", "-{}", "np.square({})", "np.sign({})", "np.floor({})", "np.ceil({})", "np.rint({})",
         "np.maximum({}, 0)", "np.isfinite({})", "np.clip({}, -1, 1)", "np.logical_not({})", "np.positive({})",
         "{}.copy()", "np.zeros_like({})", "np.ones_like({})"]  # fmt: skip
T_SMOOTH = ["{}.sin()", "{}.tanh()", "{}.sigmoid()", "(-{}.abs()).exp()", "({} ** 2 + 1).sqrt()", "{}.erf()",
            "pb.nn.functional.softplus({})", "pb.nn.functional.gelu({})", "{}.softmax(-1)",
            "{}.log_softmax(0)"]  # fmt: skip
T_EXACT = ["{}.abs()", "-{}", "{}.sign()", "{}.floor()", "{}.relu()", "{}.clamp(-1, 1)", "{}.clone()", "{}.round()",
           "pb.zeros_like({})", "{}.isfinite()", "{}.logical_not()"]  # fmt: skip


def unary(p: Program) -> bool:
    smooth = p.flag()
    name = p.value("biuf" if not smooth else "f", exact=not smooth)
    if name is None:
        return False
    table = (T_SMOOTH if smooth else T_EXACT) if p.tensors else (SMOOTH if smooth else EXACT)
    return p.try_line(p.pick(table).format(name), exact=not smooth)


def binary(p: Program) -> bool:
    a = p.value()
    if a is None:
        return False
    b = p.partner(a)
    sign = p.pick("+-*")
    line = p.pick([f"{a} {sign} {b}", f"{b} {sign} {a}"])
    return p.try_line(line, exact={a, b} <= p.exact | {n for n in (a, b) if n not in p.names})


def division(p: Program) -> bool:
    a = p.value()
    if a is None:
        return False
    b = p.partner(a)
    return p.try_line(f"{a} / ({b} * {b} + 1)", exact=False)


def discontinuous(p: Program) -> bool:
    a = p.value(exact=True)
    if a is None:
        return False
    b = p.partner(a, "biuf" if p.kind(a) != "b" else "iuf", exact=True)  # of two bools NumPy makes int8 quotients
    if p.tensors:
        return p.try_line(p.pick([f"{a} {o} {b}" for o in ("<", "<=", "==", "!=", ">", ">=", "//", "%")]), exact=True)
    signs = [f"{a} {o} {b}" for o in ("<", "<=", "==", "!=", ">", ">=", "//", "%", "&", "|", "^")]
    calls = [f"np.{f}({a}, {b})" for f in ("maximum", "minimum", "logical_and", "logical_xor", "fmod", "heaviside")]
    return p.try_line(p.pick(signs + calls), exact=True)


def smooth_binary(p: Program) -> bool:
    a = p.value("f")
    if a is None or p.tensors:
        return False
    b = p.partner(a, "if")
    return p.try_line(
        p.pick([f"np.hypot({a}, {b})", f"np.arctan2({a}, {b} * {b} + 1)", f"np.logaddexp({a}, {b})"]), False
    )


def where(p: Program) -> bool:
    mask = p.value("b")
    if mask is None:
        return False
    a = p.partner(mask)
    b = p.partner(a if a in p.names else mask)
    lib = "pb" if p.tensors else "np"
    return p.try_line(f"{lib}.where({mask}, {a}, {b})", exact={a, b} <= p.exact)


def axes(p: Program, ndim: int) -> str:
    """An `axis=` argument."""
    if ndim == 0 or p.number(0, 3) == 0:
        return "None"
    chosen = [n - ndim if p.flag() else n for n in range(ndim) if p.flag()]
    if len(chosen) == 1 and p.flag():
        return str(chosen[0])
    return repr(tuple(chosen))


def reduction(p: Program) -> bool:
    which = p.pick(["sum", "mean", "max", "min", "prod", "any", "all", "argmax", "argmin", "var", "std", "norm"])
    ordered = which in ("max", "min", "any", "all", "argmax", "argmin")
    name = p.value(exact=ordered, least=1)
    if name is None:
        return False
    shape = p.array(name).shape
    exact = which in ("sum",) or ordered
    axis = axes(p, len(shape))
    if which.startswith("arg"):
        axis = str(p.number(0, len(shape) - 1)) if p.flag() else "None"
    if p.tensors:
        return _torch_reduction(p, which, name, axis, exact)
    if which == "norm":
        return p.try_line(f"np.sqrt(np.sum(np.square({name}), axis={axis}) + 1)", False)
    keep = ", keepdims=True" if p.flag() else ""
    if which == "std":
        return p.try_line(f"np.sqrt(np.var({name}, axis={axis}{keep}) + 1)", False)
    if which in ("sum", "mean", "prod", "max") and p.flag():
        return p.try_line(f"{name}.{which}(axis={axis}{keep})", exact)
    return p.try_line(f"np.{which}({name}, axis={axis}{keep})", exact)


def _torch_reduction(p: Program, which: str, name: str, axis: str, exact: bool) -> bool:
    keep = ", keepdim=True" if p.flag() else ""
    if which in ("sum", "mean", "var", "norm", "std"):
        which = {"norm": "logsumexp", "std": "sum"}.get(which, which)
        axis = axis if axis != "None" or which != "logsumexp" else "0"
        return p.try_line(f"{name}.{which}({axis}{keep if axis != 'None' else ''})", exact and which == "sum")
    if which in ("max", "min"):
        return p.try_line(f"{name}.a{which}({axis if axis != 'None' else '()'}{keep})", exact)
    dim = str(p.number(0, p.array(name).ndim - 1))
    return p.try_line(f"{name}.{which}({dim}{keep})", exact)


def scan(p: Program) -> bool:
    name = p.value(least=1)
    if name is None:
        return False
    axis = p.number(-p.array(name).ndim, p.array(name).ndim - 1)
    if p.tensors:
        return p.try_line(f"{name}.cumsum({axis})", False)
    which = p.pick([f"np.cumsum({name}, axis={axis})", f"np.cumprod({name}, axis={axis})", f"np.cumsum({name})",
                    f"np.diff({name}, axis={axis})"])  # fmt: skip
    return p.try_line(which, False)


def read(p: Program) -> bool:
    name = p.value(least=1)
    if name is None:
        return False
    return p.try_line(f"{name}[{p.slices(p.array(name).shape)}]", name in p.exact)


def gather(p: Program) -> bool:
    name = p.value(least=1)
    where = p.value("iu", least=1)
    if name is None or where is None or p.array(name).shape[0] == 0:
        return False
    n = p.array(name).shape[0]
    index = f"{where} % {n}" + (".long()" if p.tensors else "")
    return p.try_line(f"{name}[({index})]" if not p.tensors else f"{name}[({where} % {n}).long()]", name in p.exact)


def shaping(p: Program) -> bool:
    name = p.value()
    if name is None:
        return False
    shape = p.array(name).shape
    ndim = len(shape)
    order = p.shuffled(range(ndim))
    axis = p.number(-ndim, ndim - 1) if ndim else 0
    size = p.array(name).size
    lib, copy = ("pb", "clone") if p.tensors else ("np", "copy")
    shapes = [(size,), (1, size), shape[::-1], (-1, shape[-1]) if ndim and shape[-1] else (size,)]
    lines = [
        f"{name}.reshape({p.pick(shapes)})",
        f"{name}[..., None]" if ndim < 4 else f"{name}[...]",
        f"{lib}.broadcast_to({name}, {(p.number(0, 3), *shape) if ndim < 4 else shape}).{copy}()",
    ]
    if ndim:
        roll = ("dims" if p.tensors else "axis", "dims" if p.tensors else "axis")
        lines += [
            f"{lib}.flip({name}, ({axis},))",
            f"{lib}.roll({name}, {p.number(-3, 3)}, {roll[0]}={axis})",
            f"{lib}.swapaxes({name}, {axis}, {p.number(0, ndim - 1)})",
            f"{lib}.moveaxis({name}, {axis}, {p.number(0, ndim - 1)})",
            f"{name}.permute({tuple(order)})" if p.tensors else f"np.transpose({name}, {tuple(order)})",
            f"{name}.repeat({(2,) * ndim})" if p.tensors else f"np.repeat({name}, {p.number(0, 3)}, axis={axis})",
        ]
        if not p.tensors:
            lines += [f"np.tile({name}, 2)", f"np.expand_dims({name}, {axis})", f"{name}.T", f"np.ravel({name})",
                      f"np.pad({name}, 1)", f"np.squeeze({name})"]  # fmt: skip
    if ndim >= 2:
        lines += [f"{lib}.tril({name})", f"{lib}.diagonal({name}, {p.number(-1, 1)})", f"{name}.mT"]
    return p.try_line(p.pick(lines), name in p.exact)


def joining(p: Program) -> bool:
    a = p.value(least=1)
    if a is None:
        return False
    shape = p.array(a).shape
    axis = p.number(0, len(shape) - 1)
    fit = [
        n
        for n in p.names
        if p.array(n).ndim == len(shape)
        and all(m == k for i, (m, k) in enumerate(zip(p.array(n).shape, shape, strict=True)) if i != axis)
    ]
    others = [a, *(p.pick(fit) for _ in range(p.number(1, 2)))]
    others = p.shuffled(others)
    if p.flag() and len({p.array(n).shape for n in others}) == 1:
        call = "pb.stack" if p.tensors else "np.stack"
    else:
        call = "pb.cat" if p.tensors else "np.concatenate"
    return p.try_line(f"{call}(({', '.join(others)}), {axis})", set(others) <= p.exact)


def product(p: Program) -> bool:
    a = p.value("f", least=1)
    if a is None:
        return False
    n = p.array(a).shape[-1]
    fit = [b for b in p.names if p.kind(b) == "f" and p.array(b).ndim in (1, 2) and n in p.array(b).shape]
    if not fit:
        return False
    b = p.pick(fit)
    shape = p.array(b).shape
    right = b if len(shape) == 1 or shape[0] == n else f"{b}.T" if p.flag() else f"{b}.mT"
    lines = [f"{a} @ {right}"]
    if not p.tensors:
        lines.append(f"np.dot({a}, {right})")
        if p.array(a).ndim == 2 and len(shape) == 2:
            lines.append(f"np.einsum('ij,jk->ki', {a}, {right})")
    return p.try_line(p.pick(lines), False)


def cast(p: Program) -> bool:
    name = p.value(exact=True)
    if name is None:
        return False
    dtype = p.pick(["float32", "float64", "int64", "int32", "bool", "uint8"])
    if dtype == "uint8" and float(np.min(p.array(name).astype(np.float64), initial=0.0)) < 0:
        return False  # of a negative float: undefined
    line = f"{name}.to(pb.{dtype})" if p.tensors else f"{name}.astype(np.{dtype})"
    return p.try_line(line, True)


def write(p: Program) -> bool:
    name = p.value()
    if name is None or not _writable(p.scope[name]):
        return False
    shape = p.array(name).shape
    place = f"{name}[{p.slices(shape, none=False)}]" if shape and p.number(0, 3) else f"{name}[...]"
    try:
        part = eval(place, p.scope)
    except (IndexError, ValueError):
        return False
    inner = np.shape(part if not isinstance(part, pb.Tensor) else part.detach().numpy())
    kinds = {"f": "biuf", "i": "bi", "u": "b", "b": "b"}[p.kind(name)]
    fit = [
        n
        for n in p.names
        if p.kind(n) in kinds
        and np.can_cast(p.array(n).dtype, p.array(name).dtype, "same_kind")
        and _broadcasts_into(p.array(n).shape, inner)
    ]
    other = p.pick([*fit, *fit, "2" if p.kind(name) != "b" else "True"])
    sign = p.pick(["=", "+=", "*=", "-="]) if p.kind(name) != "b" else "="
    whole = p.number(0, 4) == 0
    target = name if whole and sign != "=" else place
    if p.tensors and whole and sign != "=":
        line = f"{name}.{ {'+=': 'add_', '*=': 'mul_', '-=': 'sub_'}[sign] }({other})"
    else:
        line = f"{target} {sign} {other}"
    return p.try_line(line, {name, other} <= p.exact | {"2", "True"}, result=False)


def _broadcasts_into(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return _broadcasts(a, b) and np.broadcast_shapes(a, b) == b


KINDS = (unary, binary, binary, division, discontinuous, smooth_binary, where, reduction, reduction, scan, read, read,
         gather, shaping, shaping, joining, product, cast, write, write)  # fmt: skip


@st.composite
def programs(draw: Any, tensors: bool = False, writes: bool = True, floats: bool = False) -> Program:
    """A program of a few lines, with its inputs; `floats`: the first of them is a float array."""
    return fill(Program(draw, tensors), writes, floats)


def fill(p: Program, writes: bool, floats: bool) -> Program:
    base = [p.pick([1, 2, 3, 3, 4, 5, 0, 17]) for _ in range(3)]
    if p.number(0, 9) == 0:
        base = [p.pick([1, 20, 33, 40]) for _ in range(2)]
    for i in range(p.number(1, 3)):
        dtype = p.pick(["float64", "float32", "int64", "bool", "int32", "uint8"][: None if p.number(0, 2) == 0 else 3])
        if i == 0 and (floats or p.flag()):
            dtype = p.pick(["float64", "float32"])
        shape = tuple(1 if p.number(0, 4) == 0 else n for n in base[p.number(0, len(base)) :])
        rng = np.random.default_rng(p.number(0, 9))
        array = rng.integers(-12, 13, shape) / 4
        if dtype == "uint8":
            array = np.abs(array)
        array = array.astype(bool if dtype == "bool" else dtype)
        p.inputs.append(np.array(array))
        name = f"v{i}"
        p.scope[name] = pb.tensor(array.copy()) if p.tensors else array.copy()
        p.names.append(name)
        p.exact.add(name)
    kinds = KINDS if writes else tuple(k for k in KINDS if k is not write)
    for _ in range(p.number(2, 9)):
        p.pick(kinds)(p)
    return p
