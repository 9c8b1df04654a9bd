"""Padding, interpolation, sampling along grids, and trading channels for space, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as pb
from nn_tools import compare, same
from pullback.nn import functional as F

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore:Default grid_sample:UserWarning")


def array(seed: int, *shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# Padding


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    ("shape", "widths"),
    [
        ((2, 3, 5), (4, 2)),
        ((3, 5), (0, 3)),
        ((2, 3, 5, 4), (1, 2, 3, 0)),
        ((3, 5, 4), (-1, 2, 1, -2)),
        ((1, 2, 3, 4, 5), (1, 0, 2, 3, 2, 1)),
    ],
)
def test_padding(mode: str, shape: tuple[int, ...], widths: tuple[int, ...]) -> None:
    compare(lambda lib, x: lib.nn.functional.pad(x, widths, mode), array(0, *shape))


def test_wide_replication_and_no_padding() -> None:
    compare(lambda lib, x: lib.nn.functional.pad(x, (60, 70), "replicate"), array(0, 1, 2, 3))
    x = pb.ones(1, 2, 3)
    y = F.pad(x, (0, 0), "reflect")
    y += 1
    assert x.numpy().max() == 1  # a result of its own


# To another size

SIZES = {"linear": (7,), "bilinear": (5, 6), "bicubic": (5, 6), "trilinear": (3, 4, 5)}


@pytest.mark.parametrize("mode", SIZES)
@pytest.mark.parametrize("align", [False, True])
def test_interpolation(mode: str, align: bool) -> None:
    size = SIZES[mode]
    x = array(0, 2, 3, *size)
    for options in (
        {"size": tuple(2 * n - 1 for n in size)},
        {"size": tuple(n // 2 for n in size)},
        {"size": 1},
        {"scale_factor": 1.7},
        {"scale_factor": 0.6, "recompute_scale_factor": True},
        {"scale_factor": (2.0, 0.5, 1.3)[: len(size)]},
    ):
        compare(lambda lib, x, o=options: lib.nn.functional.interpolate(x, mode=mode, align_corners=align, **o), x)
    compare(
        lambda lib, x: lib.nn.functional.interpolate(x, scale_factor=3, mode=mode, align_corners=align),
        x.astype("float32"),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area"])
@pytest.mark.parametrize("size", [(7,), (5, 6), (3, 4, 5)])
def test_interpolation_by_steps(mode: str, size: tuple[int, ...]) -> None:
    x = array(0, 2, 3, *size)
    for options in ({"size": tuple(2 * n - 1 for n in size)}, {"size": 2}, {"scale_factor": 2}, {"scale_factor": 1.7}):
        compare(lambda lib, x, o=options: lib.nn.functional.interpolate(x, mode=mode, **o), x)
    for n, m in ((10, 13), (13, 10), (7, 14), (100, 37)):  # rounding as PyTorch's at every place
        steps = np.arange(float(n)).reshape(1, 1, n)
        compare(lambda lib, x, m=m: lib.nn.functional.interpolate(x, size=m, mode=mode), steps)


def test_nearest_volumes_by_a_scale_that_rounds() -> None:
    """PyTorch 2.13 gives the right values, and the gradient of another map: its backward pass forgets the scale."""
    x, t = pb.tensor(array(0, 1, 1, 3, 4, 5)).requires_grad_(), array(1, 1, 1, 3, 4, 5)
    y = F.interpolate(x, scale_factor=1.3)
    same(y, torch.nn.functional.interpolate(torch.tensor(x.detach().numpy()), scale_factor=1.3))
    g = array(2, *y.shape)
    y.backward(pb.tensor(g))
    moved = torch.nn.functional.interpolate(torch.tensor(t), scale_factor=1.3).numpy()
    assert abs((moved * g).sum() - (x.grad.numpy() * t).sum()) < 1e-12


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("align", [False, True])
def test_antialias(mode: str, align: bool) -> None:
    x = array(0, 1, 2, 11, 12)
    for size in ((4, 5), (20, 7), (1, 12), (11, 12)):
        compare(
            lambda lib, x, s=size: lib.nn.functional.interpolate(x, s, None, mode, align, antialias=True),
            x,
            second=False,
        )


def test_a_missing_number_stays_in_its_place() -> None:
    x = array(0, 1, 1, 6)
    x[0, 0, 2] = np.nan
    y = F.interpolate(pb.tensor(x), scale_factor=2, mode="linear").numpy()
    assert np.isnan(y).ravel().nonzero()[0].tolist() == [3, 4, 5, 6]
    assert np.isnan(F.pad(pb.tensor(x), (1, 1), "replicate").numpy()).sum() == 1


# Along a grid


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [False, True])
def test_grid_sample(mode: str, padding: str, align: bool) -> None:
    x, grid = array(0, 2, 3, 5, 6), array(1, 2, 4, 3, 2) * 1.5
    options = {"mode": mode, "padding_mode": padding, "align_corners": align}
    compare(lambda lib, x, g: lib.nn.functional.grid_sample(x, g, **options), x, grid, second=False)
    if mode != "bicubic":
        x, grid = array(0, 2, 3, 3, 4, 5), array(1, 2, 2, 3, 2, 3) * 1.5
        compare(lambda lib, x, g: lib.nn.functional.grid_sample(x, g, **options), x, grid, second=False)


def test_grid_sample_at_the_edge_and_beyond() -> None:
    x = array(0, 1, 2, 4, 4)
    far = np.array([[[[1.0, -1.0], [np.inf, 0.0], [np.nan, 0.2], [1e30, -1e30], [0.0, 0.0], [-1.0, 1.0]]]])
    for align in (False, True):
        mine = F.grid_sample(pb.tensor(x), pb.tensor(far), align_corners=align).numpy()
        theirs = torch.nn.functional.grid_sample(torch.tensor(x), torch.tensor(far), align_corners=align).numpy()
        known = [0, 3, 4, 5]
        np.testing.assert_allclose(mine[..., known], theirs[..., known], rtol=1e-12, atol=1e-12)
        assert not mine[..., [1, 2]].any()  # nothing is there


def test_grid_sample_second_order_and_vmap() -> None:
    x, grid, t = array(0, 1, 2, 5, 5), array(1, 1, 3, 3, 2) * 0.6, array(2, 1, 3, 3, 2)
    for mode in ("bilinear", "bicubic"):

        def f(g: Any, mode: str = mode) -> Any:
            return F.grid_sample(x, g, mode, align_corners=False).tanh()

        slope = (np.asarray(f(grid + 1e-6 * t)) - np.asarray(f(grid - 1e-6 * t))) / 2e-6
        np.testing.assert_allclose(np.asarray(pb.jvp(f, (grid,), (t,))[1]), slope, atol=1e-7)
        gradient = pb.grad(lambda g, f=f: f(g).sum())
        slope = (gradient(grid + 1e-6 * t) - gradient(grid - 1e-6 * t)) / 2e-6
        np.testing.assert_allclose(pb.jvp(gradient, (grid,), (t,))[1], slope, atol=1e-6)
        both = np.stack([grid, t])
        np.testing.assert_allclose(pb.vmap(f)(both), [np.asarray(f(g)) for g in both], rtol=1e-12)


def test_affine_grid() -> None:
    for align in (False, True):
        compare(
            lambda lib, m, a=align: lib.nn.functional.affine_grid(m, (2, 3, 4, 5), align_corners=a), array(0, 2, 2, 3)
        )
        compare(
            lambda lib, m, a=align: lib.nn.functional.affine_grid(m, (2, 3, 2, 4, 5), align_corners=a),
            array(0, 2, 3, 4),
        )


# Channels and space


def test_channels_and_space() -> None:
    compare(lambda lib, x: lib.nn.functional.pixel_shuffle(x, 2), array(0, 2, 8, 3, 2))
    compare(lambda lib, x: lib.nn.functional.pixel_unshuffle(x, 3), array(0, 2, 1, 2, 6, 9))
    compare(lambda lib, x: lib.nn.functional.channel_shuffle(x, 3), array(0, 2, 6, 3, 2))
    for size in (1, 2, 5, 9):
        compare(lambda lib, x, n=size: lib.nn.functional.local_response_norm(x, n, 0.3, 0.6, 2.0), array(0, 2, 6, 3))


BAD: dict[str, Any] = {
    "reflect too far": lambda F, r: F.pad(r(2, 3), (3, 3), "reflect"),
    "around twice": lambda F, r: F.pad(r(2, 3, 4), (5, 3), "circular"),
    "no such padding": lambda F, r: F.pad(r(2, 3, 4), (5, 3), "x"),
    "too many widths": lambda F, r: F.pad(r(2, 3, 4), (5, 3, 1, 1, 1, 1), "replicate"),
    "a value": lambda F, r: F.pad(r(2, 3, 4), (1, 1), "replicate", 1.0),
    "no size": lambda F, r: F.interpolate(r(2, 3, 4)),
    "two sizes": lambda F, r: F.interpolate(r(2, 3, 4), size=3, scale_factor=2.0),
    "sizes": lambda F, r: F.interpolate(r(2, 3, 4), size=(3, 3)),
    "rank": lambda F, r: F.interpolate(r(2, 3, 4), size=3, mode="bilinear"),
    "mode": lambda F, r: F.interpolate(r(2, 3, 4), size=3, mode="x"),
    "corners": lambda F, r: F.interpolate(r(2, 3, 4), size=3, mode="nearest", align_corners=True),
    "antialias": lambda F, r: F.interpolate(r(2, 3, 4), size=3, mode="nearest", antialias=True),
    "shuffle": lambda F, r: F.pixel_shuffle(r(2, 3, 4, 4), 2),
    "unshuffle": lambda F, r: F.pixel_unshuffle(r(2, 3, 4, 5), 2),
    "image": lambda F, r: F.pixel_shuffle(r(3, 4), 2),
    "grid": lambda F, r: F.grid_sample(r(2, 3, 4, 5), r(2, 3, 4, 3)),
    "grid batch": lambda F, r: F.grid_sample(r(2, 3, 4, 5), r(1, 3, 4, 2)),
    "grid mode": lambda F, r: F.grid_sample(r(2, 3, 4, 5), r(2, 3, 4, 2), mode="x"),
    "groups": lambda F, r: F.channel_shuffle(r(2, 3, 4), 2),
    "response": lambda F, r: F.local_response_norm(r(2), 2),
}


@pytest.mark.filterwarnings("ignore:grid_sample. align_corners:UserWarning")
@pytest.mark.parametrize("case", BAD)
def test_errors_are_pytorchs(case: str) -> None:
    with pytest.raises((RuntimeError, ValueError, NotImplementedError)) as theirs:
        BAD[case](torch.nn.functional, torch.ones)
    with pytest.raises(type(theirs.value)) as mine:
        BAD[case](F, pb.ones)
    assert str(mine.value)[:18] == str(theirs.value)[:18]


def test_inner_names() -> None:
    x = array(0, 2, 4, 6)
    same(pb.constant_pad_nd(pb.tensor(x), (1, 2), 3.0), torch.constant_pad_nd(torch.tensor(x), (1, 2), 3.0))
    weight = pb.tensor(array(1, 4)), torch.tensor(array(1, 4))
    for name, after in (
        ("native_group_norm", (2, 4, 6, 2, 1e-5)),
        ("native_batch_norm", (None, None, True, 0.1, 1e-5)),
    ):
        ours = getattr(pb, name)(pb.tensor(x), weight[0], None, *after)
        theirs = getattr(torch, name)(torch.tensor(x), weight[1], None, *after)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    y, mask = pb.native_dropout(pb.ones(1000), 0.25, True)
    assert 0.6 < mask.numpy().mean() < 0.9
    np.testing.assert_allclose(y.numpy(), mask.numpy() / 0.75, rtol=1e-6)
