"""Masked reductions: PyTorch's values and gradients are in `tests/op_db.py`; here what a mask means, and the edges."""

import numpy as np
import pytest
import torch

import pullback as pb

X = np.array([[1.0, np.nan, -3.0], [4.0, 5.0, np.inf], [7.0, 8.0, 9.0]])
MASK = np.array([[True, False, True], [True, True, False], [False, False, False]])
REDUCTIONS = "sum prod amax amin mean var std norm logsumexp argmax argmin".split()
ALONG = "cumsum cumprod softmax log_softmax softmin median".split()


def both(name, *args, **options):
    """pullback's result and PyTorch's, with warnings of PyTorch's own ignored."""
    mine = getattr(pb.masked, name)(pb.tensor(X), *args, mask=pb.tensor(MASK), **options)
    theirs = getattr(torch.masked, name)(torch.tensor(X), *args, mask=torch.tensor(MASK), **options)
    return mine.numpy(), theirs.numpy()


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("options", [{}, {"dim": 1}, {"dim": 0, "keepdim": True}, {"dim": -1}])
def test_reductions(name, options):
    order = (2.0,) if name == "norm" else ()
    mine, theirs = both(name, *order, **options)
    kept = MASK.any(options.get("dim"), keepdims=options.get("keepdim", False)) if "dim" in options else np.True_
    if name in ("var", "std"):
        kept = kept & (MASK.sum(options.get("dim"), keepdims=options.get("keepdim", False)) > 1)
    np.testing.assert_allclose(mine[kept], theirs[kept], rtol=1e-13)


@pytest.mark.parametrize("name", ALONG)
@pytest.mark.parametrize("dim", [0, 1])
def test_along_a_dimension(name, dim):
    mine, theirs = both(name, dim)
    kept = MASK if mine.shape == X.shape else MASK.any(dim)
    np.testing.assert_allclose(mine[kept], theirs[kept], rtol=1e-13)


@pytest.mark.parametrize("ord", [0, 1, 2, 3.0, -1, np.inf, -np.inf])
def test_norms(ord):
    x, kept = np.array([3.0, 0.5, -4.0, 100.0]), np.array([True, True, True, False])
    mine = pb.masked.norm(pb.tensor(x), ord, 0, mask=pb.tensor(kept))
    assert mine.item() == pytest.approx(np.linalg.norm(x[kept], ord), rel=1e-14)
    unit = pb.masked.normalize(pb.tensor(x), ord, 0, mask=pb.tensor(kept)).numpy()
    np.testing.assert_allclose(unit, np.where(kept, x / np.linalg.norm(x[kept], ord), 0.0), rtol=1e-14)


@pytest.mark.parametrize(
    "name", ["sum", "prod", "amax", "mean", "var", "std", "norm", "logsumexp", "softmax", "cumprod"]
)
def test_what_is_left_out_has_gradient_zero(name):
    """Whatever it is; and the others have the gradient they would have alone."""
    x = pb.tensor(np.array([1.0, np.nan, -3.0, np.inf, 2.0]), requires_grad=True)
    kept = np.array([True, False, True, False, True])
    function = getattr(pb.masked, name)
    extra = {"norm": (2.0, 0)}.get(name, (0,))
    y = function(x, *extra, mask=pb.tensor(kept))
    weight = pb.tensor(np.arange(1.0, 6.0)) if y.ndim else 1.0
    pb.where(pb.tensor(kept), y * weight, 0.0).sum().backward() if y.ndim else y.backward()
    alone = pb.tensor(x.detach().numpy()[kept], requires_grad=True)
    y = function(alone, *extra)
    (y * (weight[kept] if y.ndim else 1.0)).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy()[~kept], 0.0)
    np.testing.assert_allclose(x.grad.numpy()[kept], alone.grad.numpy(), rtol=1e-13, atol=1e-15)


def test_nothing_left():
    x, none = pb.tensor([1.0, 2.0]), pb.tensor([False, False])
    expected = {
        "sum": 0.0,
        "prod": 1.0,
        "amax": -np.inf,
        "amin": np.inf,
        "logsumexp": -np.inf,
        "mean": np.nan,
        "var": np.nan,
    }
    for name, value in expected.items():
        np.testing.assert_equal(getattr(pb.masked, name)(x, mask=none).item(), value)
    np.testing.assert_array_equal(pb.masked.softmax(x, 0, mask=none).numpy(), 0.0)
    np.testing.assert_array_equal(pb.masked.log_softmax(x, 0, mask=none).numpy(), -np.inf)
    np.testing.assert_array_equal(pb.masked.normalize(x, 2.0, 0, mask=none).numpy(), 0.0)


def test_logaddexp():
    a, b = pb.tensor([1.0, 2.0, np.nan], requires_grad=True), pb.tensor([0.5, 7.0, 1.0])
    y = pb.masked.logaddexp(a, b, input_mask=pb.tensor([True, True, False]), other_mask=pb.tensor([True, False, True]))
    np.testing.assert_allclose(y.detach().numpy(), np.float32([np.logaddexp(1.0, 0.5), 2.0, 1.0]))
    y.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), np.float32([1 / (1 + np.exp(-0.5)), 1.0, 0.0]))


def test_dtypes_and_integers():
    ints, kept = pb.tensor([3, -7, 5]), pb.tensor([True, False, True])
    assert pb.masked.amin(ints, mask=kept).item() == 3
    assert pb.masked.amax(ints, mask=pb.tensor([False, True, False])).item() == -7
    assert pb.masked.sum(ints, mask=kept).dtype == pb.int64
    assert pb.masked.mean(ints, mask=kept, dtype=pb.float64).item() == 4.0
    for name in ("sum", "mean", "var", "std", "amax"):
        assert getattr(pb.masked, name)(pb.tensor([1.0, 2.0]), mask=pb.tensor([True, True])).dtype == pb.float32


def test_a_mask_broadcasts_and_must_be_boolean():
    x = pb.tensor(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(pb.masked.sum(x, 0, mask=pb.tensor([True, False, True])).numpy(), [3.0, 0.0, 7.0])
    with pytest.raises(TypeError, match="boolean"):
        pb.masked.sum(x, mask=pb.tensor([1, 0, 1]))
    with pytest.raises(ValueError, match="broadcast"):
        pb.masked.sum(x[0], mask=pb.ones(2, 3, dtype=pb.bool))
    with pytest.raises(ValueError, match="not both"):
        pb.masked.var(x, unbiased=True, correction=0)


def test_under_transforms():
    x, kept = np.array([[1.0, 2.0, 4.0], [3.0, 9.0, 1.0]]), np.array([[True, False, True], [True, True, True]])
    f = lambda row, mask: pb.masked.std(row, mask=mask)  # noqa: E731
    np.testing.assert_allclose(pb.vmap(f)(x, kept), [np.std([1.0, 4.0], ddof=1), np.std(x[1], ddof=1)])
    g = lambda row: pb.masked.logsumexp(row, mask=pb.tensor(kept[0]))  # noqa: E731
    p = 1 / (1 + np.exp(3.0))
    wanted = np.zeros((3, 3))
    wanted[np.ix_([0, 2], [0, 2])] = p * (1 - p) * np.array([[1, -1], [-1, 1]])
    np.testing.assert_allclose(pb.hessian(g)(x[0]), wanted, atol=1e-15)
