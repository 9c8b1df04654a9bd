"""Losses of sequences, of many classes and with margins, and bags of embeddings, against PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import pullback as pb

torch = pytest.importorskip("torch")

from nn_tools import compare, numbers, same  # noqa: E402
from test_rnn import normal  # noqa: E402

REDUCTIONS = ["mean", "sum", "none"]


def functions(lib: Any) -> Any:
    return lib.nn.functional


# Connectionist temporal classification

LABELS = np.array([[1, 2, 2], [3, 0, 0], [2, 2, 1], [1, 1, 1]])
STEPS, COUNTS = [7, 5, 6, 3], [3, 1, 2, 0]


def ctc(lib: Any, x: Any, **options: Any) -> Any:
    return functions(lib).ctc_loss(x.log_softmax(2), lib.tensor(LABELS), STEPS, COUNTS, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ctc(reduction: str, dtype: str) -> None:
    x = normal(7, 4, 4, dtype=dtype)
    compare(lambda lib, x: ctc(lib, x, reduction=reduction), x, second=False, rtol=2e-4 if dtype == "float32" else 1e-9)


def test_ctc_of_all_alignments() -> None:
    """Against the definition: every path is written out."""
    x = normal(4, 1, 3)
    logs = x - np.log(np.exp(x).sum(2, keepdims=True))

    def left(path: Any) -> list[int]:
        return [c for c, _ in itertools.groupby(path) if c != 1]

    for labels in ([0, 2], [2, 2], [0], []):
        paths = [p for p in itertools.product(range(3), repeat=4) if left(p) == labels]
        wanted = -np.log(sum(np.exp(sum(logs[t, 0, c] for t, c in enumerate(p))) for p in paths))
        found = functions(pb).ctc_loss(
            pb.tensor(logs), pb.tensor([labels], dtype=pb.int64), [4], [len(labels)], blank=1, reduction="sum"
        )
        np.testing.assert_allclose(numbers(found), wanted, rtol=1e-12)


def test_ctc_derivatives_of_second_order() -> None:
    x, t = pb.tensor(normal(7, 4, 4)), pb.tensor(normal(7, 4, 4, seed=1))

    def f(x: Any) -> Any:
        return ctc(pb, x, reduction="sum")

    h = 1e-5
    difference = numbers((pb.grad(f)(x + h * t) - pb.grad(f)(x - h * t)) / (2 * h))
    np.testing.assert_allclose(numbers(pb.jvp(pb.grad(f), (x,), (t,))[1]), difference, atol=1e-8)
    np.testing.assert_allclose(numbers(pb.jvp(f, (x,), (t,))[1]), numbers((pb.grad(f)(x) * t).sum()), rtol=1e-10)
    many = pb.tensor(normal(3, 7, 4, 4))
    each = pb.vmap(pb.grad(f))(many)
    for i in range(3):
        same(each[i], pb.grad(f)(many[i]))


@pytest.mark.parametrize("zero", [False, True])
def test_ctc_without_an_alignment(zero: bool) -> None:
    x = pb.tensor(normal(2, 2, 3), requires_grad=True)
    labels = pb.tensor([[1, 1], [1, 2]])
    losses = functions(pb).ctc_loss(x.log_softmax(2), labels, [2, 2], [2, 2], reduction="none", zero_infinity=zero)
    assert numbers(losses)[0] == (0 if zero else np.inf)
    assert np.isfinite(numbers(losses)[1])
    if zero:
        losses.sum().backward()
        assert not numbers(x.grad)[:, 0].any()
        y = torch.tensor(numbers(x), requires_grad=True)
        args = torch.tensor([[1, 1], [1, 2]]), torch.tensor([2, 2]), torch.tensor([2, 2])
        functions(torch).ctc_loss(y.log_softmax(2), *args, reduction="sum", zero_infinity=True).backward()
        same(x.grad, y.grad)


def test_ctc_forms_of_targets() -> None:
    for lib in (pb, torch):
        loss = lib.nn.CTCLoss(blank=3)
        x = lib.tensor(normal(6, 2, 4)).log_softmax(2)
        steps, counts = lib.tensor([6, 5]), lib.tensor([2, 1])
        rows = loss(x, lib.tensor([[0, 1], [2, 0]]), steps, counts)
        flat = loss(x, lib.tensor([0, 1, 2]), steps, counts)
        np.testing.assert_allclose(numbers(rows), numbers(flat))
        one = loss(x[:, 0], lib.tensor([0, 1]), lib.tensor(6), lib.tensor(2))
        if lib is pb:
            mine = rows, one
    same(mine[0], rows)
    same(mine[1], one)


@pytest.mark.parametrize(
    "change", [{"blank": 9}, {"steps": [9, 5, 6, 3]}, {"counts": [9, 1, 2, 0]}, {"steps": [7]}, {"counts": [1]}]
)
def test_ctc_errors(change: Any) -> None:
    steps, counts = change.pop("steps", STEPS), change.pop("counts", COUNTS)
    for lib in (torch, pb):
        with pytest.raises(RuntimeError):
            functions(lib).ctc_loss(
                lib.tensor(normal(7, 4, 4)).log_softmax(2),
                lib.tensor(LABELS),
                lib.tensor(steps),
                lib.tensor(counts),
                **change,
            )


# Margins


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_multilabel_margin(reduction: str) -> None:
    target = np.array([[2, 0, -1, 1], [-1, 0, 1, 2], [3, 1, 2, 0]])
    x = normal(3, 4)

    def call(lib: Any, x: Any) -> Any:
        return lib.nn.MultiLabelMarginLoss(reduction=reduction)(x, lib.tensor(target))

    compare(call, x, second=False)
    compare(
        lambda lib, x: functions(lib).multilabel_margin_loss(x, lib.tensor(target[0]), reduction=reduction),
        x[0],
        second=False,
    )
    tied = np.array([[1.0, 0.0, 1.0, 0.0]])  # on the kink: slope 0
    compare(
        lambda lib, x: functions(lib).multilabel_margin_loss(x, lib.tensor([[0, -1, 0, 0]]), reduction=reduction),
        tied,
        second=False,
    )


@pytest.mark.parametrize("p", [1, 2])
def test_multi_margin_of_single_scores(p: int) -> None:
    for shape, target in (((), 0), ((4,), 2), ((4,), [2])):
        for reduction in REDUCTIONS:
            compare(
                lambda lib, x, t=target, r=reduction: functions(lib).multi_margin_loss(
                    x, lib.tensor(t), p=p, reduction=r
                ),
                normal(*shape),
                second=False,
            )


@pytest.mark.parametrize("swap", [False, True])
def test_triplets_with_a_distance(swap: bool) -> None:
    def call(lib: Any, a: Any, b: Any, c: Any) -> Any:
        def distance(x: Any, y: Any) -> Any:
            return (x - y).abs().sum(-1)

        loss = lib.nn.TripletMarginWithDistanceLoss(distance_function=distance, margin=2.0, swap=swap)
        return loss(a, b, c) + functions(lib).triplet_margin_with_distance_loss(a, b, c, swap=swap, reduction="sum")

    compare(call, normal(4, 3), normal(4, 3, seed=1), normal(4, 3, seed=2))
    for lib in (pb, torch):
        x = lib.ones(2, 2)
        with pytest.raises(ValueError, match="margin"):
            lib.nn.TripletMarginWithDistanceLoss(margin=0.0)
        with pytest.raises(RuntimeError, match="same number of dimensions"):
            functions(lib).triplet_margin_with_distance_loss(x, x, lib.ones(2))


# Distances


def test_distances() -> None:
    compare(lambda lib, x, y: functions(lib).cosine_similarity(x, y, dim=-2), normal(1, 2, 3), normal(2, 1, 3))
    for p in (0.5, 1.0, 2.0, 3.0, np.inf):
        compare(lambda lib, x, p=p: lib.pdist(x, p), normal(5, 3), second=False)
    compare(lambda lib, x: functions(lib).pdist(x), normal(1, 3), second=False)
    x = pb.ones(3, 2, requires_grad=True)
    pb.pdist(x).sum().backward()
    assert not numbers(x.grad).any()
    for lib in (pb, torch):
        with pytest.raises(RuntimeError, match="pdist only supports"):
            lib.pdist(lib.ones(2, 2), -1.0)


# Many classes


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_linear_cross_entropy(reduction: str, weighted: bool) -> None:
    target = np.array([0, 3, 1, 1, 2])

    def call(lib: Any, x: Any, w: Any, b: Any, options: Any = None) -> Any:
        weight = lib.tensor([0.5, 1.0, 2.0, 0.25], dtype=lib.float64) if weighted else None
        return functions(lib).linear_cross_entropy(
            x, w, lib.tensor(target), linear_bias=b, weight=weight, reduction=reduction, ignore_index=1, options=options
        )

    operands = normal(5, 3), normal(4, 3, seed=1), normal(4, seed=2)
    compare(call, *operands)
    for size in (None, 1, 2, 7):
        options = pb.nn.LinearCrossEntropyOptions(batch_chunk_size=size)
        compare(lambda lib, *xs, o=options: call(lib, *xs, options=o if lib is pb else None), *operands)


def test_linear_cross_entropy_of_images_and_probabilities() -> None:
    def images(lib: Any, x: Any, w: Any) -> Any:
        return functions(lib).linear_cross_entropy(x, w, lib.tensor([[0, 1], [2, 2]]))

    compare(images, normal(2, 3), normal(4, 2, 3))
    shares = np.random.default_rng(0).dirichlet(np.ones(4), 5)
    options = pb.nn.LinearCrossEntropyOptions(batch_chunk_size=2)

    def probabilities(lib: Any, x: Any, w: Any) -> Any:
        more = {"options": options} if lib is pb else {}
        return functions(lib).linear_cross_entropy(x, w, lib.tensor(shares), label_smoothing=0.1, **more)

    compare(probabilities, normal(5, 3), normal(4, 3))
    layer = pb.nn.LinearCrossEntropyLoss(3, 4, bias=True, out_features=(2,))
    twin = torch.nn.LinearCrossEntropyLoss(3, 4, bias=True, out_features=(2,))
    layer.load_state_dict({key: pb.tensor(value.numpy()) for key, value in twin.state_dict().items()})
    assert repr(layer) == repr(twin)
    x = normal(2, 3, dtype="float32")
    same(layer(pb.tensor(x), pb.tensor([[0, 1], [2, 3]])), twin(torch.tensor(x), torch.tensor([[0, 1], [2, 3]])))


def test_chunked_cross_entropy_in_every_mode() -> None:
    options = pb.nn.LinearCrossEntropyOptions(batch_chunk_size=2)
    w, target = pb.tensor(normal(4, 3)), pb.tensor([0, 3, 1])

    def f(x: Any, options: Any = options) -> Any:
        return functions(pb).linear_cross_entropy(x, w, target, options=options)

    x, t = pb.tensor(normal(3, 3, seed=3)), pb.tensor(normal(3, 3, seed=4))
    same(pb.jvp(f, (x,), (t,))[1], pb.jvp(lambda x: f(x, None), (x,), (t,))[1])
    same(pb.hessian(f)(x), pb.hessian(lambda x: f(x, None))(x))


@pytest.mark.parametrize(
    "call",
    [
        lambda lib: functions(lib).linear_cross_entropy(lib.ones(2, 3, 3), lib.ones(2, 3), lib.ones(3, 2)),
        lambda lib: functions(lib).linear_cross_entropy(lib.ones(2, 3), lib.ones(2), lib.ones(2, 2)),
        lambda lib: functions(lib).linear_cross_entropy(lib.ones(2, 3), lib.ones(2, 4), lib.ones(2, 2)),
        lambda lib: functions(lib).linear_cross_entropy(lib.ones(2, 3), lib.ones(2, 3), lib.ones(2, 2), ignore_index=0),
        lambda lib: functions(lib).linear_cross_entropy(lib.ones(3), lib.ones(2, 4, 3), lib.ones(2, 4)),
        lambda lib: functions(lib).linear_cross_entropy(
            lib.ones(2, 3), lib.ones(2, 3), lib.ones(2), linear_bias=lib.ones(3)
        ),
        lambda lib: functions(lib).multilabel_margin_loss(lib.ones(2, 3), lib.ones(2, 2, dtype=lib.int64)),
        lambda lib: functions(lib).multi_margin_loss(lib.ones(2, 3), lib.ones(3, dtype=lib.int64)),
        lambda lib: lib.nn.AdaptiveLogSoftmaxWithLoss(4, 6, [3, 2]),
        lambda lib: lib.nn.AdaptiveLogSoftmaxWithLoss(4, 6, []),
        lambda lib: lib.nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2])(lib.ones(1, 4), lib.tensor([6])),
        lambda lib: lib.nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2])(lib.ones(2, 4), lib.tensor([1])),
        lambda lib: lib.nn.EmbeddingBag(3, 2)(lib.tensor([0, 1])),
        lambda lib: lib.nn.EmbeddingBag(3, 2)(lib.tensor([[0, 1]]), lib.tensor([0])),
        lambda lib: lib.nn.EmbeddingBag(3, 2)(lib.tensor([0, 1]), lib.tensor([1])),
        lambda lib: lib.nn.EmbeddingBag(3, 2)(lib.tensor([0, 1]), lib.tensor([0, 5])),
        lambda lib: lib.nn.EmbeddingBag(3, 2, mode="other")(lib.tensor([0, 1]), lib.tensor([0])),
    ],
)
def test_errors(call: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011 (whatever PyTorch raises)
        call(torch)
    with pytest.raises(type(theirs.value)) as mine:
        call(pb)
    words = [str(error.value).split()[:3] for error in (mine, theirs)]
    assert words[0] == words[1], (str(mine.value), str(theirs.value))


def test_adaptive_softmax() -> None:
    options = {"div_value": 2.0, "head_bias": True}
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], dtype=torch.float64, **options)
    mine = pb.nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], dtype=pb.float64, **options)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    mine.load_state_dict({key: pb.tensor(value.numpy()) for key, value in theirs.state_dict().items()})
    assert repr(mine) == repr(theirs)
    x, target = normal(6, 8), np.array([0, 11, 5, 3, 2, 7])
    found = []
    for lib, module in ((pb, mine), (torch, theirs)):
        output, loss = module(lib.tensor(x), lib.tensor(target))
        loss.backward()
        one = module(lib.tensor(x[1]), lib.tensor(11))
        found.append([output, loss, *one, module.log_prob(lib.tensor(x)), module.predict(lib.tensor(x))])
        found[-1] += [p.grad for p in module.parameters()]
    for a, b in zip(*found, strict=True):
        same(a, b)
    assert repr(mine(pb.tensor(x), pb.tensor(target))).startswith("ASMoutput(output=tensor(")


# Bags of embeddings


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 2, -1])
@pytest.mark.parametrize("last", [False, True])
def test_bags(mode: str, padding: int | None, last: bool) -> None:
    rows, starts = np.array([3, 1, 2, 2, 4, 0, 2]), np.array([0, 2, 2, 4, *([7] if last else [6])])

    def call(lib: Any, table: Any) -> Any:
        return functions(lib).embedding_bag(
            lib.tensor(rows), table, lib.tensor(starts), mode=mode, padding_idx=padding, include_last_offset=last
        )

    compare(call, normal(5, 3), second=mode != "max")
    compare(
        lambda lib, t: functions(lib).embedding_bag(lib.tensor(rows[:6].reshape(2, 3)), t, mode=mode),
        normal(5, 3),
        second=False,
    )


def test_weighted_bags() -> None:
    rows = np.array([[3, 1, 2], [2, 4, 0]])

    def call(lib: Any, table: Any, weights: Any) -> Any:
        return functions(lib).embedding_bag(
            lib.tensor(rows), table, mode="sum", per_sample_weights=weights, padding_idx=2
        )

    compare(call, normal(5, 3), normal(2, 3), second=False)
    for lib in (pb, torch):
        with pytest.raises(NotImplementedError, match="per_sample_weights"):
            functions(lib).embedding_bag(lib.tensor(rows), lib.ones(5, 2), per_sample_weights=lib.ones(2, 3))
        with pytest.raises(ValueError, match="embedding_bag"):
            functions(lib).embedding_bag(lib.tensor(rows), lib.ones(5, 2), mode="sum", per_sample_weights=lib.ones(2))


def test_bag_modules() -> None:
    table = normal(5, 3, dtype="float32")
    rows, starts = [3, 1, 2, 2], [0, 1]
    for options in ({}, {"mode": "max", "padding_idx": -1}, {"max_norm": 1.0, "norm_type": 1.0, "mode": "sum"}):
        found = []
        for lib in (pb, torch):
            module = lib.nn.EmbeddingBag.from_pretrained(lib.tensor(table.copy()), freeze=False, **options)
            found += [module(lib.tensor(rows), lib.tensor(starts)), module.weight, repr(module)]
        same(found[0], found[3])
        same(found[1], found[4])
        assert found[2] == found[5]
    module = pb.nn.EmbeddingBag(400, 30, padding_idx=3)
    assert not numbers(module.weight)[3].any()
    assert abs(numbers(module.weight).std() - 1) < 0.05


def test_gradients_shared_among_readings() -> None:
    rows = np.array([[3, 1, 3], [2, 3, 0]])
    for mode in ("sum", "mean"):
        compare(
            lambda lib, t, mode=mode: functions(lib).embedding_bag(
                lib.tensor(rows), t, mode=mode, scale_grad_by_freq=True
            ),
            normal(5, 2),
            second=False,
        )
    compare(
        lambda lib, t: functions(lib).embedding(lib.tensor(rows), t, padding_idx=2, scale_grad_by_freq=True),
        normal(5, 2),
        second=False,
    )


def test_empty_bags() -> None:
    none = pb.tensor([], dtype=pb.int64)
    for mode in ("sum", "mean", "max"):
        y = functions(pb).embedding_bag(none, pb.ones(5, 2), pb.tensor([0, 0]), mode=mode)
        assert y.tolist() == [[0.0, 0.0], [0.0, 0.0]]


# Small ones


def test_softmax_over_channels() -> None:
    compare(lambda lib, x: lib.nn.Softmax2d()(x), normal(2, 3, 2, 2))
    compare(lambda lib, x: lib.nn.Softmax2d()(x), normal(3, 2, 2))
    with pytest.raises(ValueError, match="Softmax2d: expected input"):
        pb.nn.Softmax2d()(pb.ones(2, 2))


def test_steps_of_larger_functions() -> None:
    x = np.array([[1.0, -np.inf], [-np.inf, -np.inf]])
    safe = torch.ops.aten._safe_softmax.default
    same(pb._safe_softmax(pb.tensor(x), 1), safe(torch.tensor(x), 1))
    assert pb._safe_softmax(pb.tensor(x), 1, pb.float32).dtype == pb.float32
    g, y = normal(2, 3), numbers(pb.tensor(normal(2, 3)).softmax(1))
    compare(lambda lib, g, y: lib._softmax_backward_data(g, y, 1, lib.float64), g, y)
    mask = np.array([True, False, True])
    theirs = torch.ops.aten.native_dropout_backward(torch.tensor(g), torch.tensor(mask), 2.0)
    same(pb.native_dropout_backward(pb.tensor(g), pb.tensor(mask), 2.0), theirs)


@pytest.mark.parametrize("name", ["celu", "elu", "hardtanh", "leaky_relu", "relu", "selu", "threshold"])
def test_activations_in_place(name: str) -> None:
    more = (0.5, -1.0) if name == "threshold" else ()
    compare(lambda lib, x: getattr(functions(lib), name + "_")(x * 1, *more), normal(2, 3), second=False)
    x = pb.tensor(normal(2, 3))
    wanted = getattr(functions(pb), name)(x, *more)
    assert getattr(functions(pb), name + "_")(x, *more) is x
    same(x, wanted)
