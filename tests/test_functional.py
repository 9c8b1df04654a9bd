"""Functions of `nn.functional` against PyTorch: values, gradients, gradients of gradients, kinks and extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.nn import functional as PF

torch = pytest.importorskip("torch")
mpmath = pytest.importorskip("mpmath")
TF = torch.nn.functional

from nn_tools import compare, gradients, numbers, same  # noqa: E402

DTYPES = ["float32", "float64"]

# name, options
ACTIVATIONS: list[tuple[str, dict[str, Any]]] = [
    ("relu", {}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("elu", {}),
    ("elu", {"alpha": 0.4}),
    ("selu", {}),
    ("celu", {}),
    ("celu", {"alpha": 2.5}),
    ("softplus", {}),
    ("softplus", {"beta": 2.0, "threshold": 1.0}),
    ("logsigmoid", {}),
    ("silu", {}),
    ("mish", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("hardtanh", {}),
    ("hardtanh", {"min_val": -0.5, "max_val": 2.0}),
    ("relu6", {}),
    ("hardsigmoid", {}),
    ("hardswish", {}),
    ("softsign", {}),
    ("tanhshrink", {}),
    ("threshold", {"threshold": 0.2, "value": -3.0}),
    ("hardshrink", {}),
    ("hardshrink", {"lambd": 1.0}),
    ("softshrink", {}),
    ("softshrink", {"lambd": 0.1}),
    ("softmax", {"dim": 1}),
    ("softmax", {"dim": 0}),
    ("log_softmax", {"dim": -1}),
    ("softmin", {"dim": 1}),
    ("glu", {"dim": 0}),
    ("normalize", {}),
    ("normalize", {"p": 1.0, "dim": 0}),
]


def function_of(lib: Any, name: str) -> Any:
    return getattr(PF if lib is pb else TF, name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), ACTIVATIONS)
def test_activations(name: str, options: dict[str, Any], dtype: str) -> None:
    x = (np.random.default_rng(0).standard_normal((4, 6)) * 2).astype(dtype)
    second = name != "hardsigmoid"  # PyTorch has no second derivative of it, and takes 1/6 in single precision
    tolerance = {} if second else {"rtol": 1e-7}
    compare(lambda lib, x: function_of(lib, name)(x, **options), x, second=second, **tolerance)


KINKS = np.array([-6.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0])


@pytest.mark.parametrize(("name", "options"), [a for a in ACTIVATIONS if "dim" not in a[1] and a[0] != "normalize"])
def test_kinks_and_their_slopes_are_pytorchs(name: str, options: dict[str, Any]) -> None:
    tolerance = {"rtol": 1e-7} if name == "hardsigmoid" else {}
    compare(lambda lib, x: function_of(lib, name)(x, **options), KINKS, second=False, **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), [a for a in ACTIVATIONS if "dim" not in a[1] and a[0] != "normalize"])
def test_large_operands_stay_finite_without_warnings(name: str, options: dict[str, Any], dtype: str) -> None:
    x = np.array([-1e4, -200.0, -90.0, -30.0, 30.0, 90.0, 200.0, 1e4], dtype)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-12}
    second = name not in ("hardsigmoid", "mish")  # PyTorch has none, and NaN
    compare(lambda lib, x: function_of(lib, name)(x, **options), x, second=second, **tolerance)
    leaf = pb.tensor(x, requires_grad=True)
    y = function_of(pb, name)(leaf, **options)
    (g,) = gradients(pb, y.sum(), leaf, create_graph=True)
    assert np.isfinite(numbers(y)).all()
    assert np.isfinite(numbers(g)).all()
    if g.requires_grad:
        assert np.isfinite(numbers(gradients(pb, g.sum(), leaf)[0])).all()


@pytest.mark.parametrize("name", ["relu", "elu", "leaky_relu", "silu", "hardtanh", "softplus", "gelu", "threshold"])
def test_nan_stays_nan(name: str) -> None:
    options = {"threshold": 0.0, "value": 1.0} if name == "threshold" else {}
    assert math.isnan(function_of(pb, name)(pb.tensor([math.nan]), **options).item())


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "selu", "celu", "silu", "mish", "hardtanh", "relu6"])
def test_inplace(name: str) -> None:
    x = np.linspace(-2, 2, 7)

    def run(lib: Any, x: Any) -> Any:
        y = x * 1.0
        z = function_of(lib, name)(y, inplace=True)
        assert z is y
        return y

    compare(run, x, second=False)


def test_functions_of_floats_reject_integers() -> None:
    for name in ("gelu", "elu", "softplus", "silu"):
        with pytest.raises(NotImplementedError, match="not implemented for 'Long'"):
            function_of(pb, name)(pb.tensor([1, 2]))
        with pytest.raises(NotImplementedError):
            function_of(torch, name)(torch.tensor([1, 2]))


def test_activations_keep_float16_and_zero_dimensions() -> None:
    for name, options in ACTIVATIONS:
        if name in ("glu", "normalize") or "dim" in options:
            continue
        y = function_of(pb, name)(pb.tensor(0.3, dtype=pb.float64), **options)
        assert tuple(y.shape) == ()
        assert y.dtype == pb.float64
        half = function_of(pb, name)(pb.tensor([0.3, -2.0], dtype=pb.float16), **options)
        theirs = function_of(torch, name)(torch.tensor([0.3, -2.0], dtype=torch.float16), **options)
        same(half, theirs, name, rtol=4e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
def test_prelu(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape)
    compare(lambda lib, x, w: function_of(lib, "prelu")(x, w), x, np.array([0.25]))
    if len(shape) > 1:
        compare(lambda lib, x, w: function_of(lib, "prelu")(x, w), x, rng.standard_normal(shape[1]))
        with pytest.raises(RuntimeError, match="Mismatch of parameter numbers"):
            PF.prelu(pb.tensor(x), pb.tensor(rng.standard_normal(shape[1] + 1)))


def test_softmax_with_infinities() -> None:
    x = np.array([[-np.inf, 0.0, 1.0], [5.0, -np.inf, -np.inf]])
    compare(lambda lib, x: lib.softmax(x, 1), x, second=False)
    y = numbers(pb.softmax(pb.tensor(x), 1))
    assert y[0, 0] == 0
    assert y[1, 0] == 1
    assert numbers(pb.log_softmax(pb.tensor(x), 1))[0, 0] == -np.inf
    big = np.array([[1e4, -1e4, 0.0], [1e30, 1e30, 0.0]])
    compare(lambda lib, x: lib.log_softmax(x, 1), big)


def test_softmax_options() -> None:
    x = pb.tensor([[1.0, 2.0]])
    assert pb.softmax(x, 1, dtype=pb.float64).dtype == pb.float64
    assert x.softmax(-1).sum().item() == pytest.approx(1)
    assert pb.softmax(pb.tensor(3.0), 0).item() == 1
    assert tuple(pb.softmax(pb.zeros(0, 3), 0).shape) == (0, 3)
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        PF.softmax(x)
    with pytest.raises(IndexError, match="Dimension out of range"):
        pb.softmax(x, 2)


def test_gumbel_softmax() -> None:
    pb.manual_seed(0)
    logits = pb.tensor([[2.0, 0.0, -2.0]], dtype=pb.float64).expand(4000, 3)
    hard = PF.gumbel_softmax(logits, hard=True)
    assert set(np.unique(numbers(hard)).round(12)) == {0.0, 1.0}
    shares = numbers(hard).mean(0)
    np.testing.assert_allclose(shares, numbers(pb.softmax(pb.tensor([2.0, 0.0, -2.0]), 0)), atol=0.03)
    x = pb.tensor([[2.0, 0.0, -2.0]], requires_grad=True)
    (PF.gumbel_softmax(x, hard=True) * pb.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert np.abs(numbers(x.grad)).sum() > 0


def test_rrelu_and_alpha_dropout() -> None:
    x = np.array([-2.0, -1.0, 3.0])
    compare(lambda lib, x: function_of(lib, "rrelu")(x), x)
    y = numbers(PF.rrelu(pb.tensor(x), training=True))
    assert y[2] == 3
    assert ((y[:2] / x[:2] >= 1 / 8) & (y[:2] / x[:2] <= 1 / 3)).all()
    pb.manual_seed(1)
    z = numbers(PF.alpha_dropout(pb.randn(20000), 0.3, training=True))
    assert abs(z.mean()) < 0.05
    assert abs(z.var() - 1) < 0.1


# The error function against its definition


def _ulps(y: Any, exact: Any) -> float:
    return max(
        abs(float((mpmath.mpf(float(a)) - b) / float(np.spacing(abs(np.float64(b))))))
        for a, b in zip(y, exact, strict=True)
        if np.float64(b) != 0
    )


def test_erf_erfc_erfinv_to_a_few_units_in_the_last_place() -> None:
    rng = np.random.default_rng(0)
    with mpmath.workdps(40):
        x = np.concatenate([np.linspace(-6, 6, 301), rng.standard_normal(200), 10.0 ** np.linspace(-300, -1, 50)])
        assert _ulps(numbers(pb.erf(pb.tensor(x))), [mpmath.erf(float(v)) for v in x]) < 5
        x = np.concatenate([np.linspace(-6, 26, 401), [0.46875, 4.0]])
        assert _ulps(numbers(pb.erfc(pb.tensor(x))), [mpmath.erfc(float(v)) for v in x]) < 6
        x = np.concatenate([np.linspace(-0.9999, 0.9999, 101), 1 - 2.0 ** -np.arange(1, 54), [1e-300, 1e-10]])
        assert _ulps(numbers(pb.erfinv(pb.tensor(x))), [mpmath.erfinv(float(v)) for v in x]) < 5


@pytest.mark.parametrize("name", ["erf", "erfc", "erfinv"])
def test_error_functions_against_pytorch(name: str) -> None:
    x = np.random.default_rng(0).uniform(-0.95, 0.95, (3, 5))
    compare(lambda lib, x: getattr(lib, name)(x), x)
    compare(lambda lib, x: getattr(x, name)(), x.astype("float32"))
    ends = np.array([-np.inf, -1.0, 0.0, 1.0, np.inf, np.nan])
    same(getattr(pb, name)(pb.tensor(ends)), getattr(torch, name)(torch.tensor(ends)), name)


# Layers


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (0, 3), (2, 1, 4, 3)])
def test_linear(shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in (shape, (4, 3), (4,)))
    compare(lambda lib, x, w, b: function_of(lib, "linear")(x, w, b), x, w, b)
    compare(lambda lib, x, w: function_of(lib, "linear")(x, w), x, w)


def test_linear_reads_views_and_counts_writes() -> None:
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((6, 3)), rng.standard_normal((3, 4)), rng.standard_normal(8)
    compare(lambda lib, x, w, b: function_of(lib, "linear")(x[::2], w.t(), b[1::2]), x, w, b)
    x, w, b = (pb.tensor(v) for v in (x, w.T.copy(), b[:4]))
    y = PF.linear(x, w.requires_grad_(), b)
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_linear_errors() -> None:
    with pytest.raises(RuntimeError, match=r"mat1 and mat2 shapes cannot be multiplied \(2x5 and 3x4\)"):
        PF.linear(pb.zeros(2, 5), pb.zeros(4, 3), pb.zeros(4))
    with pytest.raises(RuntimeError, match="must have the same dtype"):
        PF.linear(pb.zeros(2, 3, dtype=pb.float64), pb.zeros(4, 3), pb.zeros(4))


def test_bilinear() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((5, 3), (5, 4), (2, 3, 4), (2,))]
    compare(lambda lib, *xs: function_of(lib, "bilinear")(*xs), *arrays)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("affine", ["both", "weight", "none"])
def test_layer_norm(affine: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in ((2, 3, 4), (3, 4), (3, 4)))
    count = {"both": 2, "weight": 1, "none": 0}[affine]
    compare(
        lambda lib, x, *wb: function_of(lib, "layer_norm")(x, (3, 4), *wb, eps=1e-3),
        *[x, w, b][: 1 + count],
        **({"rtol": 2e-4, "atol": 2e-5} if dtype == "float32" else {}),
    )


def test_layer_norm_of_constant_rows() -> None:
    x, w, b = np.full((2, 4), 7.0), np.arange(1.0, 5.0), np.ones(4)
    compare(lambda lib, x, w, b: function_of(lib, "layer_norm")(x, (4,), w, b), x, w, b, rtol=1e-8, atol=1e-8)


def test_third_order_through_layer_norm() -> None:
    """The saved mean and deviation are functions of x, to every order; PyTorch's own third order is not right, so it
    differentiates the formula."""

    def third(lib: Any, x: Any) -> Any:
        centred = x - x.mean()
        y = PF.layer_norm(x, (4,)) if lib is pb else centred / ((centred * centred).mean() + 1e-5).sqrt()
        y = (y**3).sum()
        for k in (2, 3):
            (g,) = gradients(lib, y, x, create_graph=True)
            y = (g**k).sum()
        return y

    compare(third, np.array([0.3, -1.0, 0.5, 2.0]), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(shape: tuple[int, ...], training: bool) -> None:
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal(shape), rng.standard_normal(3), rng.standard_normal(3)
    mean, var = rng.standard_normal(3), rng.random(3) + 0.5
    running: dict[Any, Any] = {}

    def run(lib: Any, x: Any, w: Any, b: Any) -> Any:
        running[lib] = lib.tensor(mean), lib.tensor(var)
        return function_of(lib, "batch_norm")(x, *running[lib], w, b, training, 0.3, 1e-4)

    compare(run, x, w, b)
    for mine, theirs in zip(running[pb], running[torch], strict=True):
        same(mine, theirs)


def test_batch_norm_errors_and_transforms() -> None:
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        PF.batch_norm(pb.zeros(1, 3), None, None, training=True)
    stats = pb.zeros(3, dtype=pb.float64), pb.ones(3, dtype=pb.float64)
    x = np.random.default_rng(0).standard_normal((4, 3))
    gradient = pb.grad(
        lambda x: (PF.batch_norm(pb.tensor(x) if isinstance(x, np.ndarray) else x, *stats, training=True) ** 3).sum()
    )(x)
    assert gradient.shape == (4, 3)
    assert numbers(stats[0]).any()
    assert type(stats[0]._value) is np.ndarray
    with pytest.raises(RuntimeError, match="inside vmap"):
        pb.vmap(lambda x: PF.batch_norm(x, *stats, training=True))(np.stack([x, x]))


@pytest.mark.parametrize("padding", [None, 1, -1])
def test_embedding(padding: int | None) -> None:
    w = np.random.default_rng(0).standard_normal((5, 3))
    index = np.array([[1, 4, 1], [0, 2, 4]])
    compare(lambda lib, w: function_of(lib, "embedding")(lib.tensor(index), w, padding_idx=padding), w)


def test_embedding_errors_and_max_norm() -> None:
    w = pb.ones(4, 2)
    for wrong in ([4], [-1]):
        with pytest.raises(IndexError, match="index out of range in self"):
            PF.embedding(pb.tensor(wrong), w)
    with pytest.raises(RuntimeError, match="'indices'"):
        PF.embedding(pb.tensor([1.0]), w)
    array = np.random.default_rng(0).standard_normal((4, 3)) * 3
    mine, theirs = pb.tensor(array), torch.tensor(array)
    y = PF.embedding(pb.tensor([1, 3]), mine, max_norm=1.0)
    same(y, TF.embedding(torch.tensor([1, 3]), theirs, max_norm=1.0))
    same(mine, theirs)


def test_one_hot() -> None:
    index = [[0, 2], [1, 1]]
    same(PF.one_hot(pb.tensor(index)), TF.one_hot(torch.tensor(index)))
    same(PF.one_hot(pb.tensor(index), 5), TF.one_hot(torch.tensor(index), 5))
    with pytest.raises(RuntimeError, match="smaller than num_classes"):
        PF.one_hot(pb.tensor(index), 2)


def test_group_and_rms_norm() -> None:
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((2, 4, 3)), rng.standard_normal(4), rng.standard_normal(4)
    compare(lambda lib, x, w, b: function_of(lib, "group_norm")(x, 2, w, b), x, w, b)
    v = rng.standard_normal(3)
    compare(lambda lib, x, v: function_of(lib, "rms_norm")(x, (3,), v, 1e-5), x, v)
    compare(lambda lib, x: function_of(lib, "rms_norm")(x, (3,)), x)


def test_distances() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    for p in (1.0, 2.0, 3.0):
        compare(lambda lib, a, b, p=p: function_of(lib, "pairwise_distance")(a, b, p), a, b)
    compare(lambda lib, a, b: function_of(lib, "cosine_similarity")(a, b), a, b)
    compare(lambda lib, a, b: function_of(lib, "cosine_similarity")(a, b, dim=0), a, b)


def test_dropout() -> None:
    pb.manual_seed(0)
    x = pb.ones(10000, requires_grad=True)
    y = PF.dropout(x, 0.25)
    values = np.unique(numbers(y))
    np.testing.assert_allclose(values, [0, 1 / 0.75], rtol=1e-6)
    assert abs(y.mean().item() - 1) < 0.03
    y.sum().backward()
    np.testing.assert_array_equal(numbers(x.grad), numbers(y))
    assert PF.dropout(x, 0.25, training=False) is x
    assert not numbers(PF.dropout(x, 1.0)).any()
    with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
        PF.dropout(x, 1.5)
    pb.manual_seed(5)
    first = numbers(PF.dropout(x, 0.5))
    pb.manual_seed(5)
    np.testing.assert_array_equal(first, numbers(PF.dropout(x, 0.5)))
