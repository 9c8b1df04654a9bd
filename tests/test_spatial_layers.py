"""Convolution, pooling, padding, resizing, channel normalisation and dropout layers: PyTorch's, name for name."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import pullback as pb
from nn_tools import same
from pullback import nn, optim

torch = pytest.importorskip("torch")


def array(seed: int, *shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


IMAGE = (2, 4, 9, 8)
LINE, VOLUME = (2, 4, 9), (2, 4, 5, 6, 7)
LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv1d", (4, 6, 3), {}, LINE),
    ("Conv2d", (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, IMAGE),
    ("Conv2d", (4, 6, (3, 2)), {"padding": "same", "dilation": 2, "bias": False}, IMAGE),
    ("Conv2d", (4, 6, 3), {"padding": (1, 2), "padding_mode": "reflect"}, IMAGE),
    ("Conv2d", (4, 6, 3), {"padding": "same", "padding_mode": "circular"}, IMAGE),
    ("Conv3d", (4, 6, 2), {"padding": 1, "padding_mode": "replicate"}, VOLUME),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2}, LINE),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "output_padding": 1, "padding": 1, "groups": 2}, IMAGE),
    ("ConvTranspose3d", (4, 6, 2), {"dilation": 2, "bias": False}, VOLUME),
    *((f"MaxPool{n}d", (3,), {"stride": 2, "padding": 1}, s) for n, s in ((1, LINE), (2, IMAGE), (3, VOLUME))),
    *((f"AvgPool{n}d", (3, 2, 1), {}, s) for n, s in ((1, LINE), (2, IMAGE), (3, VOLUME))),
    *((f"AdaptiveAvgPool{n}d", (3,), {}, s) for n, s in ((1, LINE), (2, IMAGE), (3, VOLUME))),
    *((f"AdaptiveMaxPool{n}d", (3,), {}, s) for n, s in ((1, LINE), (2, IMAGE), (3, VOLUME))),
    *((f"LPPool{n}d", (2, 3), {}, s) for n, s in ((1, LINE), (2, IMAGE), (3, VOLUME))),
    *((f"ConstantPad{n}d", (1, 2.5), {}, s) for n, s in ((1, LINE), (2, IMAGE), (3, VOLUME))),
    *(
        (f"{kind}Pad{n}d", (tuple(range(2 * n)),), {}, s)
        for kind in ("Zero", "Reflection", "Replication", "Circular")
        for n, s in ((1, LINE), (2, (2, 4, 5, 6)), (3, (1, 2, 6, 7, 5)))
    ),
    *((f"InstanceNorm{n}d", (4,), {"affine": True}, s) for n, s in ((1, LINE), (2, IMAGE), (3, VOLUME))),
    ("InstanceNorm2d", (4,), {"track_running_stats": True, "momentum": 0.3}, IMAGE),
    ("InstanceNorm2d", (4,), {}, IMAGE[1:]),
    *((f"BatchNorm{n}d", (4,), {}, s) for n, s in ((1, LINE), (2, IMAGE), (3, VOLUME))),
    ("LocalResponseNorm", (3,), {"alpha": 0.5, "k": 2.0}, IMAGE),
    ("Upsample", (), {"scale_factor": 2}, IMAGE),
    ("Upsample", (), {"size": (5, 11), "mode": "bicubic"}, IMAGE),
    ("UpsamplingNearest2d", (), {"scale_factor": 2}, IMAGE),
    ("UpsamplingBilinear2d", (), {"size": (5, 11)}, IMAGE),
    ("PixelShuffle", (2,), {}, IMAGE),
    ("PixelUnshuffle", (2,), {}, (2, 4, 8, 6)),
    ("ChannelShuffle", (2,), {}, IMAGE),
    ("Unfold", (3,), {"stride": 2}, IMAGE),
    ("Fold", ((4, 5), 2), {}, (2, 8, 12)),
    *((f"Dropout{n}d", (0.25,), {}, s) for n, s in ((1, LINE), (2, IMAGE), (3, VOLUME))),
    ("FeatureAlphaDropout", (), {}, IMAGE),
    ("FractionalMaxPool2d", (2,), {"output_size": 3}, IMAGE),
    ("FractionalMaxPool3d", (2,), {"output_ratio": 0.5}, VOLUME),
    *((f"MaxUnpool{n}d", (2,), {}, ()) for n in (1, 2, 3)),
]
RANDOM = ("Dropout", "FeatureAlpha", "Fractional")


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: f"{case[0]}{case[2] or ''}")
def test_layer(case: Any) -> None:
    """Signature, look and keys; then with PyTorch's state PyTorch's results and gradients, training and not."""
    name, args, options, shape = case
    kind, peer = getattr(nn, name), getattr(torch.nn, name)
    wanted = list(inspect.signature(peer.__init__).parameters)
    assert list(inspect.signature(kind.__init__).parameters) == wanted
    mine, theirs = kind(*args, **options), peer(*args, **options)
    assert repr(mine) == repr(theirs)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    mine.load_state_dict({k: pb.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    if not shape:
        return
    for training in (True, False):
        if training and name.startswith(RANDOM):
            continue
        if name.startswith("Fractional"):
            continue
        results = []
        for lib, layer in ((pb, mine), (torch, theirs)):
            layer.train(training)
            for p in layer.parameters():
                p.grad = None
            x = lib.tensor(array(0, *shape)).requires_grad_()
            y = layer(x)
            (y * lib.tensor(array(1, *y.shape))).sum().backward()
            results.append([y, x.grad, *(p.grad for p in layer.parameters()), *layer.buffers()])
        for i, (a, b) in enumerate(zip(*results, strict=True)):
            same(a, b, f"{name}, {i}", rtol=2e-4, atol=2e-5)


def test_fractional_pooling_keeps_its_samples() -> None:
    samples = np.random.default_rng(0).random((2, 4, 2), np.float32)
    x = array(0, *IMAGE)
    found = [
        lib.nn.FractionalMaxPool2d(2, 3, _random_samples=lib.tensor(samples))(lib.tensor(x)) for lib in (pb, torch)
    ]
    same(*found)
    with pytest.raises(ValueError, match="only one of output_size and output_ratio"):
        nn.FractionalMaxPool2d(2, 3, 0.5)


def test_unpooling_layer() -> None:
    x = pb.tensor(array(0, *IMAGE))
    y, index = nn.MaxPool2d(2, return_indices=True)(x)
    back = nn.MaxUnpool2d(2)(y, index, output_size=x.shape)
    assert tuple(back.shape) == IMAGE
    np.testing.assert_array_equal(nn.MaxPool2d(2)(back.abs())[0, 0].numpy() > 0, y[0, 0].numpy() != 0)


def test_transposed_convolution_to_a_given_size() -> None:
    x = array(0, 1, 3, 4, 4)
    for size in ((8, 9), (1, 2, 9, 8)):
        mine, theirs = nn.ConvTranspose2d(3, 2, 3, 2, 1), torch.nn.ConvTranspose2d(3, 2, 3, 2, 1)
        if size == (8, 9):
            with pytest.raises(ValueError, match="requested an output size"):
                mine(pb.tensor(x), (20, 20))
        mine.load_state_dict({k: pb.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
        size = tuple(min(n, 8) if i >= len(size) - 2 else n for i, n in enumerate(size))
        same(mine(pb.tensor(x), size), theirs(torch.tensor(x), size), rtol=1e-4, atol=1e-5)


def test_initial_weights_have_pytorchs_spread() -> None:
    pb.manual_seed(0)
    for layer in (nn.Conv2d(16, 64, 5, groups=2), nn.ConvTranspose2d(64, 16, 5, groups=2)):
        bound = 1 / np.sqrt(8 * 25)
        for p in (layer.weight, layer.bias):
            assert abs(p.detach().numpy()).max() <= bound
            assert abs(p.detach().numpy()).max() > 0.8 * bound


def test_channel_dropout() -> None:
    pb.manual_seed(0)
    for n in (1, 2, 3):
        y = getattr(nn, f"Dropout{n}d")(0.5)(pb.ones(20, 50, *(4,) * n)).numpy().reshape(1000, -1)
        assert (y == y[:, :1]).all()  # whole channels
        assert set(np.unique(y)) == {0.0, 2.0}
        assert 0.4 < (y > 0).mean() < 0.6
    for inplace in (False, True):
        alone = nn.functional.dropout1d(pb.ones(50, 4), 0.5, inplace=inplace).numpy()
        assert (alone == alone[:, :1]).all()
        assert set(np.unique(alone)) == {0.0, 2.0}
    x = pb.randn(200, 50, 4)
    y = nn.FeatureAlphaDropout(0.3)(x).numpy()
    assert abs(y.mean()) < 0.1
    assert abs(y.std() - 1) < 0.1
    assert not nn.Dropout2d(1.0)(pb.ones(2, 3, 4, 4)).numpy().any()
    z = pb.ones(4, 3, 2, 2)
    assert nn.Dropout2d(0.5, inplace=True)(z) is z


def test_refusals() -> None:
    for make, told in (
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "in_channels must be divisible by groups"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), "out_channels must be divisible by groups"),
        (lambda: nn.Conv2d(4, 3, 3, padding="x"), "Invalid padding string 'x'"),
        (lambda: nn.Conv2d(4, 3, 3, 2, padding="same"), "not supported for strided convolutions"),
        (lambda: nn.Conv2d(4, 3, 3, padding_mode="x"), "padding_mode must be one of"),
        (lambda: nn.ConvTranspose2d(4, 3, 3, padding_mode="reflect"), 'Only "zeros" padding mode is supported'),
        (lambda: nn.InstanceNorm2d(3)(pb.ones(2, 3)), "expected 3D or 4D input"),
        (lambda: nn.InstanceNorm2d(3, affine=True)(pb.ones(2, 4, 5, 5)), "to match num_features"),
        (lambda: nn.BatchNorm2d(3)(pb.ones(2, 3)), "expected 4D input"),
        (lambda: nn.InstanceNorm1d(3)(pb.ones(2, 3, 1)), "Expected more than 1 spatial element"),
    ):
        with pytest.raises(ValueError, match=told):
            make()


def _network(n: Any) -> Any:
    return n.Sequential(
        n.Conv2d(3, 8, 3, padding=1),
        n.BatchNorm2d(8),
        n.ReLU(),
        n.MaxPool2d(2),
        n.Conv2d(8, 12, 3, stride=2, groups=2, bias=False),
        n.InstanceNorm2d(12, affine=True),
        n.ReLU(),
        n.AdaptiveAvgPool2d(2),
        n.Flatten(),
        n.Linear(48, 5),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_small_network_trains_side_by_side(dtype: str) -> None:
    """Three steps of gradient descent from PyTorch's weights: losses, weights and running statistics stay together."""
    theirs = _network(torch.nn).to(getattr(torch, dtype))
    mine = _network(nn).to(getattr(pb, dtype))
    mine.load_state_dict({k: pb.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    steps = optim.SGD(mine.parameters(), 0.1, 0.9), torch.optim.SGD(theirs.parameters(), 0.1, 0.9)
    tolerance = {"rtol": 2e-3, "atol": 2e-4} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-10}
    for seed in range(3):
        x, target = array(seed, 6, 3, 14, 14, dtype=dtype), np.arange(6) % 5
        losses = []
        for lib, net, step in zip((pb, torch), (mine, theirs), steps, strict=True):
            step.zero_grad()
            loss = lib.nn.functional.cross_entropy(net(lib.tensor(x)), lib.tensor(target))
            loss.backward()
            step.step()
            losses.append(loss)
        same(*losses, **tolerance)
    for key, value in theirs.state_dict().items():
        same(mine.state_dict()[key], value, key, **tolerance)
    mine.eval(), theirs.eval()
    same(mine(pb.tensor(x)), theirs(torch.tensor(x)), **tolerance)
