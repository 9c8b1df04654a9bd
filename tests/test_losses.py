"""Losses against PyTorch: values, gradients, gradients of gradients, options, reductions, extremes, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback import nn
from pullback.nn import functional as PF

torch = pytest.importorskip("torch")
TF = torch.nn.functional

from nn_tools import compare, gradients, numbers, same  # noqa: E402

REDUCTIONS = ["mean", "sum", "none"]
DTYPES = ["float32", "float64"]


def functions(lib: Any) -> Any:
    return PF if lib is pb else TF


def normal(*shape: int, seed: int = 0, dtype: str = "float64") -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def uniform(*shape: int, seed: int = 0, dtype: str = "float64") -> Any:
    return np.random.default_rng(seed).uniform(0.05, 0.95, shape).astype(dtype)


def signs(*shape: int) -> Any:
    return np.where(np.random.default_rng(9).random(shape) < 0.5, -1.0, 1.0)


# name, options, operands: every floating operand is differentiated, targets included
POINTWISE: list[tuple[str, dict[str, Any], Any]] = [
    ("mse_loss", {}, (normal(4, 3), normal(4, 3, seed=1))),
    ("l1_loss", {}, (normal(4, 3), normal(4, 3, seed=1))),
    ("smooth_l1_loss", {}, (normal(4, 3), normal(4, 3, seed=1))),
    ("smooth_l1_loss", {"beta": 0.3}, (normal(4, 3), normal(4, 3, seed=1))),
    ("smooth_l1_loss", {"beta": 0.0}, (normal(4, 3), normal(4, 3, seed=1))),
    ("huber_loss", {}, (normal(4, 3), normal(4, 3, seed=1))),
    ("huber_loss", {"delta": 0.3}, (normal(4, 3), normal(4, 3, seed=1))),
    ("binary_cross_entropy", {}, (uniform(4, 3), uniform(4, 3, seed=1))),
    ("binary_cross_entropy_with_logits", {}, (normal(4, 3), uniform(4, 3, seed=1))),
    ("soft_margin_loss", {}, (normal(4, 3), signs(4, 3))),
    ("hinge_embedding_loss", {"margin": 1.5}, (normal(4, 3), signs(4, 3))),
    ("poisson_nll_loss", {}, (normal(4, 3), uniform(4, 3) * 4)),
    ("poisson_nll_loss", {"full": True}, (normal(4, 3), uniform(4, 3) * 4)),
    ("poisson_nll_loss", {"log_input": False, "full": True}, (uniform(4, 3), uniform(4, 3) * 4)),
    ("gaussian_nll_loss", {}, (normal(4, 3), normal(4, 3, seed=1), uniform(4, 3))),
    ("gaussian_nll_loss", {"full": True}, (normal(4, 3), normal(4, 3, seed=1), uniform(4, 1))),
    ("margin_ranking_loss", {"margin": 0.3}, (normal(4), normal(4, seed=1), signs(4))),
    ("cosine_embedding_loss", {"margin": 0.1}, (normal(4, 3), normal(4, 3, seed=1), signs(4))),
    ("triplet_margin_loss", {}, (normal(4, 3), normal(4, 3, seed=1), normal(4, 3, seed=2))),
    ("triplet_margin_loss", {"p": 1.0, "swap": True}, (normal(4, 3), normal(4, 3, seed=1), normal(4, 3, seed=2))),
    ("multilabel_soft_margin_loss", {}, (normal(4, 3), uniform(4, 3).round())),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "options", "operands"), POINTWISE)
def test_losses(name: str, options: dict[str, Any], operands: Any, reduction: str, dtype: str) -> None:
    second = name != "hinge_embedding_loss"
    if name in ("poisson_nll_loss", "soft_margin_loss", "multilabel_soft_margin_loss", "hinge_embedding_loss"):
        fixed = operands[1].astype(dtype)  # PyTorch has no derivative with respect to these targets

        def run(lib: Any, x: Any) -> Any:
            return getattr(functions(lib), name)(x, lib.tensor(fixed), reduction=reduction, **options)

        compare(run, operands[0].astype(dtype), second=second)
        return
    if name in ("margin_ranking_loss", "cosine_embedding_loss"):
        fixed = operands[2].astype(dtype)

        def run2(lib: Any, *xs: Any) -> Any:
            return getattr(functions(lib), name)(*xs, lib.tensor(fixed), reduction=reduction, **options)

        compare(
            run2,
            *(x.astype(dtype) for x in operands[:2]),
            **({} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-5}),
        )
        return
    compare(
        lambda lib, *xs: getattr(functions(lib), name)(*xs, reduction=reduction, **options),
        *(x.astype(dtype) for x in operands),
        **({} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-5}),
    )


@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("reduction", ["batchmean", "sum", "none"])
def test_kl_div(reduction: str, log_target: bool) -> None:
    x = np.log(uniform(4, 3))
    t = uniform(4, 3, seed=1)
    t = np.log(t) if log_target else t
    compare(lambda lib, x, t: functions(lib).kl_div(x, t, reduction=reduction, log_target=log_target), x, t)
    if not log_target:
        t[0, 0] = 0
        compare(lambda lib, x: functions(lib).kl_div(x, lib.tensor(t), reduction=reduction), x)
        assert np.isfinite(numbers(PF.kl_div(pb.tensor(x), pb.tensor(t), reduction="none"))).all()


def test_kl_div_warns_of_mean() -> None:
    for lib in (pb, torch):
        with pytest.warns(UserWarning, match="'batchmean' divides only by the batch size"):
            y = functions(lib).kl_div(lib.tensor([[-1.0]]), lib.tensor([[0.5]]), reduction="mean")
        assert y.item() == pytest.approx(0.5 * (np.log(0.5) + 1))


# Class indices

TARGET = np.array([2, 0, 1, 2, 1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore_index", [-100, 1])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(reduction: str, weighted: bool, ignore_index: int, smoothing: float, dtype: str) -> None:
    w = np.array([0.3, 1.0, 2.0], dtype)

    def run(lib: Any, x: Any) -> Any:
        return functions(lib).cross_entropy(
            x,
            lib.tensor(TARGET),
            weight=lib.tensor(w) if weighted else None,
            reduction=reduction,
            ignore_index=ignore_index,
            label_smoothing=smoothing,
        )

    compare(run, normal(5, 3, dtype=dtype) * 2)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore_index", [-100, 1])
def test_nll_loss(reduction: str, weighted: bool, ignore_index: int) -> None:
    w = np.array([0.3, 1.0, 2.0])

    def run(lib: Any, x: Any) -> Any:
        options = {"weight": lib.tensor(w) if weighted else None, "ignore_index": ignore_index}
        return functions(lib).nll_loss(x, lib.tensor(TARGET), reduction=reduction, **options)

    compare(run, normal(5, 3))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (2, 3, 2, 2)])
def test_class_indices_in_other_shapes(name: str, reduction: str, shape: tuple[int, ...]) -> None:
    rest = (shape[0], *shape[2:]) if len(shape) > 1 else ()
    t = np.random.default_rng(0).integers(0, 3, rest)
    compare(lambda lib, x: getattr(functions(lib), name)(x, lib.tensor(t), reduction=reduction), normal(*shape))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 3, 4)])
def test_cross_entropy_of_probabilities(shape: tuple[int, ...], smoothing: float, reduction: str) -> None:
    w = np.array([0.3, 1.0, 2.0])
    for weighted in (False, True):
        compare(
            lambda lib, x, t, weighted=weighted: functions(lib).cross_entropy(
                x, t, lib.tensor(w) if weighted else None, reduction=reduction, label_smoothing=smoothing
            ),
            normal(*shape),
            uniform(*shape),
        )


def test_cross_entropy_of_extreme_scores() -> None:
    x = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [1e4, 1e4, 0.0]])
    compare(lambda lib, x: functions(lib).cross_entropy(x, lib.tensor([0, 0, 1])), x)
    compare(lambda lib, x: functions(lib).cross_entropy(x, lib.tensor([0, 0, 1])), x.astype("float32"))
    masked = np.array([[-np.inf, 1.0, 2.0]])
    compare(lambda lib, x: functions(lib).cross_entropy(x, lib.tensor([2])), masked, second=False)


def test_cross_entropy_backward_twice_and_in_every_mode() -> None:
    """What the node keeps is not used up, and agrees with the other ways to the same gradient."""
    array, t = normal(5, 3), pb.tensor(TARGET)
    x = pb.tensor(array, requires_grad=True)
    y = PF.cross_entropy(x, t)
    first = numbers(gradients(pb, y, x, retain_graph=True)[0]).copy()
    np.testing.assert_array_equal(numbers(gradients(pb, y, x)[0]), first)

    def f(x: Any) -> Any:
        return PF.cross_entropy(x, t)

    np.testing.assert_allclose(
        numbers(pb.grad(f)(array)) if not isinstance(pb.grad(f)(array), np.ndarray) else pb.grad(f)(array), first
    )
    np.testing.assert_allclose(pb.jacfwd(f)(array), first, atol=1e-15)
    both = np.stack([array, array[::-1]])
    each = pb.vmap(pb.grad(f))(both)
    np.testing.assert_allclose(each[0], first, atol=1e-15)
    np.testing.assert_allclose(each[1], pb.grad(f)(both[1]), atol=1e-15)
    with pb.no_grad():
        assert PF.cross_entropy(x, t).item() == pytest.approx(y.item())


def test_all_ignored() -> None:
    for lib in (pb, torch):
        x, t = lib.zeros(2, 3), lib.tensor([-100, -100])
        assert functions(lib).cross_entropy(x, t, reduction="sum").item() == 0
    with np.errstate(invalid="ignore"):
        assert np.isnan(PF.cross_entropy(pb.zeros(2, 3), pb.tensor([-100, -100])).item())


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_class_index_errors(name: str) -> None:
    mine, theirs = getattr(PF, name), getattr(TF, name)
    for wrong in ([0, 3], [0, -1]):
        with pytest.raises(IndexError, match="out of bounds"):
            mine(pb.zeros(2, 3), pb.tensor(wrong))
        with pytest.raises(IndexError):
            theirs(torch.zeros(2, 3), torch.tensor(wrong))
    for lib, function in ((pb, mine), (torch, theirs)):
        with pytest.raises(ValueError, match=r"Expected input batch_size \(2\) to match target batch_size \(3\)"):
            function(lib.zeros(2, 3), lib.tensor([0, 1, 2]))
        with pytest.raises(RuntimeError):
            function(lib.zeros(2, 3), lib.tensor([0.0, 1.0]))
        with pytest.raises(ValueError, match="is not a valid value for reduction"):
            function(lib.zeros(2, 3), lib.tensor([0, 1]), reduction="average")
    with pytest.raises(RuntimeError, match=r"Expected target size \[2, 4\], got \[2, 5\]"):
        mine(pb.zeros(2, 3, 4), pb.zeros(2, 5, dtype=pb.int64))


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_multi_margin_loss(p: int, weighted: bool) -> None:
    w = np.array([0.3, 1.0, 2.0])
    for reduction in REDUCTIONS:
        compare(
            lambda lib, x, reduction=reduction: functions(lib).multi_margin_loss(
                x, lib.tensor(TARGET), p, 0.7, lib.tensor(w) if weighted else None, reduction=reduction
            ),
            normal(5, 3),
            second=False,
        )


# Binary cross entropy at its ends


@pytest.mark.parametrize("dtype", DTYPES)
def test_bce_is_finite_at_0_and_1(dtype: str) -> None:
    x = np.array([0.0, 0.0, 1.0, 1.0, 1e-30, 0.5], dtype)
    t = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 0.3], dtype)
    for reduction in REDUCTIONS:
        compare(
            lambda lib, x, reduction=reduction: functions(lib).binary_cross_entropy(
                x, lib.tensor(t), reduction=reduction
            ),
            x,
            second=False,
            rtol=1e-6,  # PyTorch's 1e-12 is in single precision
        )
    leaf = pb.tensor(x, requires_grad=True)
    y = PF.binary_cross_entropy(leaf, pb.tensor(t), reduction="none")
    np.testing.assert_allclose(numbers(y)[:4], [0, 100, 100, 0])
    y.sum().backward()
    assert np.isfinite(numbers(leaf.grad)).all()


def test_bce_gradient_of_the_target_is_that_of_the_bounded_logs() -> None:
    """PyTorch leaves the logs in it unbounded, so its own is infinite where the loss is not."""
    x, t = np.array([0.0, 1.0, 0.25]), pb.tensor([0.3, 0.4, 0.5], dtype=pb.float64, requires_grad=True)
    PF.binary_cross_entropy(pb.tensor(x), t, reduction="sum").backward()
    np.testing.assert_allclose(numbers(t.grad), [100, -100, np.log(3)])


def test_bce_rejects_what_is_no_probability() -> None:
    for lib in (pb, torch):
        for wrong in ([-0.1, 0.5], [0.5, 1.5]):
            with pytest.raises(RuntimeError, match="all elements of input should be between 0 and 1"):
                functions(lib).binary_cross_entropy(lib.tensor(wrong), lib.tensor([0.0, 1.0]))
        with pytest.raises(ValueError, match=r"is deprecated\. Please ensure they have the same size"):
            functions(lib).binary_cross_entropy(lib.tensor([0.5]), lib.tensor([[0.0, 1.0]]))
        with pytest.raises(ValueError, match="must be the same as input size"):
            functions(lib).binary_cross_entropy_with_logits(lib.tensor([0.5]), lib.tensor([[0.0, 1.0]]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_of_any_size(dtype: str) -> None:
    x = np.array([-1e4, -100.0, -29.0, 29.0, 100.0, 1e4], dtype)
    for t in (np.zeros(6, dtype), np.ones(6, dtype), np.full(6, 0.3, dtype)):
        compare(
            lambda lib, x, t=t: functions(lib).binary_cross_entropy_with_logits(x, lib.tensor(t), reduction="none"),
            x,
            second=False,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights(reduction: str) -> None:
    x, p, t, w = normal(4, 3), uniform(4, 3), uniform(4, 3, seed=1), uniform(3) * 3
    for name, first in (("binary_cross_entropy", p), ("binary_cross_entropy_with_logits", x)):
        compare(
            lambda lib, x, t, name=name: getattr(functions(lib), name)(x, t, lib.tensor(w), reduction=reduction),
            first,
            t,
        )
    compare(
        lambda lib, x, t: functions(lib).binary_cross_entropy_with_logits(
            x, t, lib.tensor(w), pos_weight=lib.tensor(w[::-1].copy()), reduction=reduction
        ),
        x,
        t,
    )
    full = uniform(4, 3) * 2
    for name in ("mse_loss", "huber_loss", "l1_loss"):
        compare(
            lambda lib, x, t, name=name: getattr(functions(lib), name)(
                x, t, weight=lib.tensor(full), reduction=reduction
            ),
            x,
            t,
        )


# Sizes, dtypes, flags


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_unlike_sizes_warn_and_broadcast(name: str) -> None:
    def run(lib: Any, x: Any, t: Any) -> Any:
        with pytest.warns(UserWarning, match=r"Using a target size \(torch.Size\(\[4\]\)\) that is different"):
            return getattr(functions(lib), name)(x, t)

    compare(run, normal(4, 1), normal(4, seed=1))


def test_the_warning_points_at_the_caller() -> None:
    for call in (PF.mse_loss, nn.MSELoss()):
        with pytest.warns(UserWarning, match="different to the input size") as record:
            call(pb.zeros(4, 1), pb.zeros(4))
        assert call is not PF.mse_loss or record[0].filename == __file__


def test_dtypes() -> None:
    half = PF.mse_loss(pb.ones(3, dtype=pb.float16), pb.zeros(3, dtype=pb.float16))
    assert half.dtype == pb.float16
    big = pb.full((70000,), 1.0, dtype=pb.float16)
    assert PF.mse_loss(big, big * 0).item() == 1
    assert PF.mse_loss(pb.ones(3), pb.zeros(3, dtype=pb.float64)).dtype == pb.float64
    with pytest.raises(NotImplementedError, match="not implemented for 'Long'"):
        PF.mse_loss(pb.tensor([1]), pb.tensor([2]))


def test_empty_means_are_nan() -> None:
    with np.errstate(invalid="ignore"):
        for lib in (pb, torch):
            x = lib.zeros(0, requires_grad=True)
            y = functions(lib).mse_loss(x, lib.zeros(0))
            assert np.isnan(y.item())
            y.backward()
            assert tuple(x.grad.shape) == (0,)


def test_deprecated_flags() -> None:
    x, t = normal(3), normal(3, seed=1)
    for flags in ({"size_average": False}, {"reduce": False}, {"size_average": True, "reduce": True}):
        results = []
        for lib in (pb, torch):
            with pytest.warns(UserWarning, match="args will be deprecated, please use reduction="):
                results.append(functions(lib).mse_loss(lib.tensor(x), lib.tensor(t), **flags))
        same(*results)


# As modules

MODULES: list[tuple[str, dict[str, Any], Any]] = [
    ("MSELoss", {}, (normal(4, 3), normal(4, 3, seed=1))),
    ("L1Loss", {}, (normal(4, 3), normal(4, 3, seed=1))),
    ("SmoothL1Loss", {"beta": 0.5}, (normal(4, 3), normal(4, 3, seed=1))),
    ("HuberLoss", {"delta": 0.5}, (normal(4, 3), normal(4, 3, seed=1))),
    ("BCELoss", {}, (uniform(4, 3), uniform(4, 3, seed=1))),
    ("BCEWithLogitsLoss", {}, (normal(4, 3), uniform(4, 3, seed=1))),
    ("CrossEntropyLoss", {"ignore_index": 1, "label_smoothing": 0.1}, (normal(5, 3), TARGET)),
    ("NLLLoss", {"ignore_index": 1}, (normal(5, 3), TARGET)),
    ("KLDivLoss", {"log_target": True}, (normal(4, 3), normal(4, 3, seed=1))),
    ("PoissonNLLLoss", {"full": True}, (normal(4, 3), (uniform(4, 3) * 5).round())),
    ("GaussianNLLLoss", {"full": True}, (normal(4, 3), normal(4, 3, seed=1), uniform(4, 3))),
    ("HingeEmbeddingLoss", {}, (normal(4, 3), signs(4, 3))),
    ("MarginRankingLoss", {"margin": 0.2}, (normal(4), normal(4, seed=1), signs(4))),
    ("CosineEmbeddingLoss", {"margin": 0.1}, (normal(4, 3), normal(4, 3, seed=1), signs(4))),
    ("SoftMarginLoss", {}, (normal(4, 3), signs(4, 3))),
    ("MultiLabelSoftMarginLoss", {}, (normal(4, 3), uniform(4, 3).round())),
    ("MultiMarginLoss", {"p": 2}, (normal(5, 3), TARGET)),
    ("TripletMarginLoss", {"swap": True}, (normal(4, 3), normal(4, 3, seed=1), normal(4, 3, seed=2))),
]


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize(("name", "options", "operands"), MODULES)
def test_modules(name: str, options: dict[str, Any], operands: Any, reduction: str) -> None:
    results = []
    for lib in (pb, torch):
        module = getattr(lib.nn, name)(reduction=reduction, **options)
        assert repr(module) == f"{name}()"
        x = lib.tensor(operands[0], requires_grad=True)
        y = module(x, *map(lib.tensor, operands[1:]))
        y.sum().backward()
        results.append((y, x.grad))
    for mine, theirs in zip(*results, strict=True):
        same(mine, theirs, name)


def test_weights_of_modules_are_buffers() -> None:
    for lib in (pb, torch):
        w = lib.tensor([1.0, 2.0, 3.0])
        assert list(lib.nn.CrossEntropyLoss(w).state_dict()) == ["weight"]
        assert list(lib.nn.BCEWithLogitsLoss(pos_weight=w).state_dict()) == ["pos_weight"]
    loss = nn.CrossEntropyLoss(pb.tensor([1.0, 2.0, 3.0]))
    theirs = torch.nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]))
    x = normal(5, 3, dtype="float32")
    same(loss(pb.tensor(x), pb.tensor(TARGET)), theirs(torch.tensor(x), torch.tensor(TARGET)))
