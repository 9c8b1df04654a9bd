"""PyTorch's own operator database, run on pullback: the same samples, values and gradients.

PyTorch ships, for its own tests, a list of its operators with sample inputs for each
(`torch.testing._internal.common_methods_invocations.op_db`). Every operator of it that has a float64 gradient is looked
up here under its own name in `pullback`, called with PyTorch's samples, and compared with PyTorch: structure, shapes,
dtypes and values of the results, and the gradients of every operand for random cotangents.

`python tests/op_db.py linalg.svd nn.functional.conv` prints what becomes of the operators whose names begin so, and of
all of them without arguments.
"""

from __future__ import annotations

import functools
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import pullback as pb

SAMPLES = 60  # of an operator, evenly taken from its list
_ATTRIBUTES = ("T", "H", "mT", "mH")
_COTANGENTS = np.random.default_rng(5)


class Missing(Exception):
    """pullback has no function of this name."""


class Outcome(NamedTuple):
    """What became of an operator: how many samples were run, and the first failure, None if there was none.

    `random`: how many samples have a result that differs between two seeds in PyTorch itself.
    """

    name: str
    samples: int
    failure: str | None
    random: int = 0


def full_name(op: Any) -> str:
    """The name of an entry: `linalg.norm.subgradients_at_zero` is a variant of `linalg.norm`."""
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else str(op.name)


def operators() -> list[Any]:
    """The entries that have a gradient in float64."""
    return [op for op in op_db if op.supports_autograd and torch.float64 in op.supported_dtypes("cpu")]


def mine(op: Any) -> Callable[..., Any]:
    """pullback's function for an entry: by its path, or else the method.

    Where PyTorch wraps a call to reorder its arguments, the wrapper runs with pullback in PyTorch's place.
    """
    name = str(op.name).removeprefix("torch.ops.aten.").removesuffix(".default")
    if name in _ATTRIBUTES:
        return lambda x: getattr(x, name)
    if isinstance(op.op, FunctionType) and op.op.__module__.startswith("torch.testing"):
        return FunctionType(
            op.op.__code__, {**op.op.__globals__, "torch": pb}, name, op.op.__defaults__, op.op.__closure__
        )
    found: Any = pb
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found) or isinstance(found, pb.DType):
        found = getattr(pb.Tensor, name, None)
    if found is None:
        raise Missing(name)
    return found


# From PyTorch's values to ours


@functools.cache
def _dtype(dtype: torch.dtype) -> Any:
    return getattr(pb, str(dtype).removeprefix("torch."))


def _twin(x: torch.Tensor) -> Any:
    """A tensor of ours with the same numbers; of a part of some memory, the same part of a copy of it."""
    if x.layout is not torch.strided or not x.storage_offset():
        return pb.tensor(_array(x).copy())
    memory = torch.empty(0, dtype=x.dtype).set_(x.detach().untyped_storage())
    steps = [step * x.element_size() for step in x.stride()]
    array = _array(memory).copy()
    return pb.from_numpy(np.ndarray(tuple(x.shape), array.dtype, array, x.storage_offset() * x.element_size(), steps))


def translated(x: Any, leaves: list[tuple[torch.Tensor, Any]]) -> Any:
    """The same value for pullback; the tensors that require gradients are noted in pairs."""
    if isinstance(x, torch.Tensor):
        known = next((twin for seen, twin in leaves if seen is x), None)
        if known is not None:
            return known
        twin = _twin(x)
        if x.requires_grad:
            twin.requires_grad_()
            x.grad = None
            leaves.append((x, twin))
        return twin
    if isinstance(x, torch.dtype):
        return _dtype(x)
    if isinstance(x, torch.Size):
        return pb.Size(x)
    if isinstance(x, torch.nn.Module):  # one without parameters
        twin = getattr(pb.nn, type(x).__name__)()
        twin.__dict__.update({key: value for key, value in vars(x).items() if not key.startswith("_")})
        return twin
    if isinstance(x, torch.device):
        return pb.device(str(x))
    if isinstance(x, (torch.memory_format, torch.layout)):
        return getattr(pb, str(x).removeprefix("torch."))
    if isinstance(x, list | tuple) and type(x) in (list, tuple):
        return type(x)(translated(item, leaves) for item in x)
    if isinstance(x, dict):
        return {key: translated(item, leaves) for key, item in x.items()}
    return x


def _flat(result: Any) -> list[Any]:
    if isinstance(result, list | tuple):
        return [x for item in result for x in _flat(item)]
    if isinstance(result, dict):
        return [x for item in result.values() for x in _flat(item)]
    return [result]


def _array(x: Any) -> np.ndarray[Any, Any]:
    if isinstance(x, torch.Tensor):
        if x.layout is not torch.strided:
            x = x.to_dense()
        if x._is_zerotensor():
            x = torch.zeros_like(x)
        return x.detach().numpy(force=True)
    return x.detach().numpy()


def _compare(what: str, got: Any, wanted: Any) -> None:
    if not isinstance(wanted, torch.Tensor):
        if not isinstance(wanted, int | float | bool | complex):
            return
        assert got == wanted or (got != got and wanted != wanted), f"{what} is {got!r}, not {wanted!r}"
        return
    assert isinstance(got, pb.Tensor), f"{what} is a {type(got).__name__}, not a Tensor"
    assert tuple(got.shape) == tuple(wanted.shape), f"{what} has shape {tuple(got.shape)}, not {tuple(wanted.shape)}"
    assert str(got.dtype) == str(wanted.dtype), f"{what} is {got.dtype}, not {wanted.dtype}"
    loose = wanted.dtype in (torch.float32, torch.complex64, torch.float16, torch.bfloat16)
    tolerance = 2e-3 if wanted.dtype in (torch.float16, torch.bfloat16) else 2e-5 if loose else 1e-7
    a, b = _array(got), _array(wanted)
    scale = float(np.max(np.abs(b[np.isfinite(b)]), initial=1.0)) if b.dtype.kind in "fc" else 1.0
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def _loss(outputs: list[Any], weights: list[Any], make: Callable[[Any], Any]) -> Any:
    """Re Σ conj(w)·y over the outputs, or None if no gradient passes through any."""
    total: Any = None
    for y, w in zip(outputs, weights, strict=True):
        if w is None or not y.requires_grad:
            continue
        term = (y * make(np.conj(w))).sum()
        term = term.real if w.dtype.kind == "c" else term
        total = term if total is None else total + term
    return total


def _weights(outputs: list[Any]) -> list[Any]:
    """A random cotangent for each output that can have one."""
    weights: list[Any] = []
    for y in outputs:
        if not isinstance(y, torch.Tensor) or not (y.is_floating_point() or y.is_complex()):
            weights.append(None)
            continue
        w = _COTANGENTS.standard_normal(tuple(y.shape))
        if y.is_complex():
            w = w + 1j * _COTANGENTS.standard_normal(tuple(y.shape))
        weights.append(w.astype(_array(y).dtype))
    return weights


def _with_ours(wrapper: Any) -> Any:
    """A function of PyTorch's tests with pullback in PyTorch's place."""
    code, names, defaults = wrapper.__code__, {**wrapper.__globals__, "torch": pb}, wrapper.__defaults__
    ours = FunctionType(code, names, wrapper.__name__, defaults, wrapper.__closure__)
    ours.__kwdefaults__ = wrapper.__kwdefaults__
    return ours


def _wrapper(op: Any, operands: Any, kwargs: dict[str, Any]) -> Any:
    """What the entry puts around a call; for a masked function, zeros where PyTorch's result is left undefined."""
    if not str(op.name).startswith("masked."):
        return _with_ours(op.gradcheck_wrapper)
    masks = [kwargs.get(key) for key in ("input_mask", "other_mask")]
    if masks[0] is not None and masks[1] is not None:
        mask = torch.masked._input_mask(*operands, mask=torch.logical_and(*masks))
    elif kwargs.get("mask") is None or "masked" not in op.gradcheck_wrapper.__name__:
        return op.gradcheck_wrapper
    else:
        mask = torch.masked._output_mask(op.op, *operands, **kwargs)
    return lambda function, *args, **kwargs: pb.where(pb.tensor(mask.numpy()), function(*args, **kwargs), 0.0)


def check_sample(op: Any, sample: Any, *, gradients: bool = True) -> None:
    """Run one sample. Raises `AssertionError`, or what pullback raised."""
    operands = (sample.input, *sample.args)
    leaves: list[tuple[torch.Tensor, Any]] = []
    twins = translated(operands, leaves)
    keywords = translated(sample.kwargs, leaves)
    wanted = sample.output_process_fn_grad(op.gradcheck_wrapper(op.op, *operands, **sample.kwargs))
    got = sample.output_process_fn_grad(_wrapper(op, operands, sample.kwargs)(mine(op), *twins, **keywords))
    results, expected = _flat(got), _flat(wanted)
    assert len(results) == len(expected), f"{len(results)} results, not {len(expected)}"
    for i, (y, z) in enumerate(zip(results, expected, strict=True)):
        _compare(f"result {i}" if len(expected) > 1 else "the result", y, z)
    if not gradients or not leaves:
        return
    weights = _weights(expected)
    theirs = _loss(expected, weights, torch.tensor)
    ours = _loss(results, weights, pb.tensor)
    if theirs is None:
        assert ours is None, "PyTorch's results require no gradient"
        return
    assert ours is not None, "the results require no gradient"
    theirs.backward()
    ours.backward()
    for i, (x, twin) in enumerate(leaves):
        if x.grad is None:
            assert twin.grad is None or not np.any(_array(twin.grad)), f"the gradient of operand {i} should be None"
        elif twin.grad is None:
            assert not np.any(_array(x.grad)), f"the gradient of operand {i} is None, PyTorch's is not"
        else:
            _compare(f"the gradient of operand {i}", twin.grad, x.grad)


# Random operators: two draws are not the same, but a draw and its gradient are in a relation.


def is_random(op: Any, sample: Any) -> bool:
    """Whether PyTorch's own result depends on the seed, which the entry itself may set."""
    drawn = []
    manual_seed = torch.manual_seed
    for seed in range(20):
        with mock.patch.object(torch, "manual_seed", lambda _, seed=seed: manual_seed(seed)):
            torch.manual_seed(seed)
            drawn.append(_flat(op.gradcheck_wrapper(op.op, sample.input, *sample.args, **sample.kwargs)))
    return any(
        isinstance(a, torch.Tensor) and a.shape == b.shape and not torch.equal(a.nan_to_num(), b.nan_to_num())
        for other in drawn[1:]
        for a, b in zip(drawn[0], other, strict=True)
    )


def _scaled(x: Any, y: Any, slope: Any) -> bool:
    """Each element was multiplied by a random number: y = slope·x."""
    return bool(np.allclose(y, slope * x))


def _kept_or_replaced(x: Any, y: Any, slope: Any) -> bool:
    """Elements were kept or replaced by a constant, and then all of them mapped by one line (alpha dropout)."""
    kept = slope != 0
    if not kept.any():
        return True
    line = y[kept] - slope[kept] * x[kept]
    return bool(np.allclose(slope[kept], slope[kept][0]) and np.allclose(line, line[0]))


def _constant(x: Any, y: Any, slope: Any) -> bool:
    """What was drawn does not move with the parameters."""
    return not np.any(slope)


# For operators whose result has the shape of the first operand: what its elements, the result's and the slopes obey.
RELATIONS: dict[str, Callable[[Any, Any, Any], bool]] = {
    "normal": _constant,
    "bernoulli": _constant,
    **dict.fromkeys(("nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d"), _scaled),
    "nn.functional.rrelu": _scaled,
    **dict.fromkeys(("nn.functional.alpha_dropout", "nn.functional.feature_alpha_dropout"), _kept_or_replaced),
}


def check_random_sample(op: Any, sample: Any) -> None:
    """What can be checked of a random operator: shapes, dtypes, and the relation of its gradient to what was drawn."""
    operands = (sample.input, *sample.args)
    leaves: list[tuple[torch.Tensor, Any]] = []
    twins = translated(operands, leaves)
    wanted = _flat(op.gradcheck_wrapper(op.op, *operands, **sample.kwargs))
    results = _flat(op.gradcheck_wrapper(mine(op), *twins, **translated(sample.kwargs, leaves)))
    assert len(results) == len(wanted), f"{len(results)} results, not {len(wanted)}"
    for y, z in zip(results, wanted, strict=True):
        assert tuple(y.shape) == tuple(z.shape), f"the result has shape {tuple(y.shape)}, not {tuple(z.shape)}"
        assert str(y.dtype) == str(z.dtype), f"the result is {y.dtype}, not {z.dtype}"
    relation = RELATIONS.get(str(op.name))
    if relation is None or not leaves:
        return
    y, x = results[0], leaves[0][1]
    assert y.requires_grad or relation is _constant, "the result requires no gradient"
    if y.requires_grad:
        y.sum().backward()
    if tuple(y.shape) == tuple(x.shape):
        slope = np.zeros(tuple(x.shape)) if x.grad is None else _array(x.grad)
        assert relation(_array(x), _array(y), slope), "the gradient is not that of what was drawn"


def _check(op: Any, sample: Any) -> bool:
    """Check a sample, whether random or not; returns whether it was."""
    if op.name not in RELATIONS:
        try:
            check_sample(op, sample)
            return False
        except AssertionError:
            if not is_random(op, sample):
                raise
    elif RELATIONS[op.name] is not _constant and not is_random(op, sample):
        check_sample(op, sample)
        return False
    check_random_sample(op, sample)
    return True


def check_method(op: Any, sample: Any) -> None:
    """If PyTorch has the operator as a method, the method exists and gives what the function gives."""
    if op.method_variant is None or not isinstance(sample.input, torch.Tensor):
        return
    name = op.method_variant.__name__
    if name == "<lambda>":  # an entry that sets the seed around the call
        name = str(op.name)
    assert hasattr(pb.Tensor, name), f"there is no method Tensor.{name}"


def taken(op: Any, dtype: torch.dtype = torch.float64) -> Iterator[Any]:
    """The samples of an operator, at most `SAMPLES` of them."""
    torch.manual_seed(0)
    found = list(op.sample_inputs("cpu", dtype, requires_grad=True))
    step = max(1, -(-len(found) // SAMPLES))
    yield from found[::step]


def _described(sample: Any) -> str:
    def short(x: Any) -> str:
        if isinstance(x, torch.Tensor):
            return f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}"
        if isinstance(x, list | tuple):
            return "(" + ", ".join(map(short, x)) + ")"
        return repr(x)

    parts = [short(x) for x in (sample.input, *sample.args)]
    return ", ".join(parts + [f"{key}={short(value)}" for key, value in sample.kwargs.items()])


def run(op: Any, dtype: torch.dtype = torch.float64, *, verbose: bool = False) -> Outcome:
    """Run an operator's samples, up to the first failure; all of them if `verbose`, printing each failure."""
    name, count, failure, random = full_name(op), 0, None, 0
    try:
        mine(op)
    except Missing:
        return Outcome(name, 0, "missing")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for sample in taken(op, dtype):
            count += 1
            try:
                random += _check(op, sample)
                check_method(op, sample)
            except Exception as error:
                text = " ".join(str(error).split())[:300]
                failure = failure or f"({_described(sample)}): {type(error).__name__}: {text}"
                if not verbose:
                    break
                print(f"--- {name}({_described(sample)})")
                print("".join(traceback.format_exception(error)[-3:])[-1500:])
    return Outcome(name, count, failure, random)


def main(prefixes: list[str]) -> None:
    """Print what becomes of the operators chosen."""
    chosen = [op for op in operators() if not prefixes or any(full_name(op).startswith(p) for p in prefixes)]
    outcomes = [run(op, verbose=len(chosen) == 1) for op in chosen]
    for outcome in outcomes:
        if outcome.failure:
            print(f"{outcome.name}: {outcome.failure}")
    drawn = [o for o in outcomes if not o.failure and o.random]
    passed = [o for o in outcomes if not o.failure and not o.random]
    names = {op.name for op in chosen}
    bad = {op.name for op, o in zip(chosen, outcomes, strict=True) if o.failure or o.random}
    print(f"{len(passed)} of {len(outcomes)} entries pass; of {len(names)} names, {len(names - bad)} pass in full")
    if drawn:
        print(f"random, and right in what can be checked: {', '.join(o.name for o in drawn)}")


if __name__ == "__main__":
    main(sys.argv[1:])
