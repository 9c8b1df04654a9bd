"""Learning-rate schedulers give PyTorch's numbers, and their states are interchangeable."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import pullback as pb

torch = pytest.importorskip("torch")

Make = Callable[[Any, Any], Any]  # (schedulers, optimizer) -> scheduler


class Halving:
    """A rule with a state of its own."""

    def __init__(self, factor: float = 0.5) -> None:
        self.factor = factor

    def __call__(self, epoch: int) -> float:
        return float(self.factor**epoch)


CASES: dict[str, Make] = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda epoch: 0.95**epoch),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda epoch: 1 / (1 + epoch), Halving()]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 1 - 1 / (epoch + 2)),
    "step": lambda s, o: s.StepLR(o, 3, gamma=0.3),
    "multistep": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 11], gamma=0.3),
    "constant": lambda s, o: s.ConstantLR(o, factor=0.25, total_iters=4),
    "linear": lambda s, o: s.LinearLR(o, start_factor=0.3, end_factor=0.8, total_iters=7),
    "linear by default": lambda s, o: s.LinearLR(o),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "polynomial": lambda s, o: s.PolynomialLR(o, total_iters=9, power=1.7),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, T_max=6, eta_min=0.01),
    "cosine over one epoch": lambda s, o: s.CosineAnnealingLR(o, T_max=1),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=4, eta_min=0.001),
    "longer restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, 0.2, step_size_up=4),
    "cyclic, per group": lambda s, o: s.CyclicLR(
        o, [0.01, 0.02], [0.2, 0.3], step_size_up=3, step_size_down=5, mode="triangular2", max_momentum=[0.9, 0.95]
    ),
    "cyclic, shrinking": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 4, mode="exp_range", gamma=0.9, cycle_momentum=False),
    "cyclic, own": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 4, scale_fn=lambda x: 1 / (1 + x), scale_mode="iterations"),
    "cyclic, object": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 4, scale_fn=Halving()),
    "one cycle": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=30),
    "one cycle, three phases": lambda s, o: s.OneCycleLR(o, [0.5, 0.7], epochs=5, steps_per_epoch=6, three_phase=True),
    "one cycle, linear": lambda s, o: s.OneCycleLR(
        o, 0.5, 30, pct_start=0.4, anneal_strategy="linear", cycle_momentum=False, div_factor=10, final_div_factor=5
    ),
    "sequential": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=4), s.CosineAnnealingLR(o, 5), s.ExponentialLR(o, 0.8)], milestones=[4, 10]
    ),
    "sequential with restarts": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.5, 3), s.CosineAnnealingWarmRestarts(o, 4)], milestones=[3]
    ),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9), s.StepLR(o, 3)]),
    "chain in a sequence": lambda s, o: s.SequentialLR(
        o, [s.ChainedScheduler([s.ConstantLR(o, 0.1, 2), s.StepLR(o, 2)]), s.PolynomialLR(o, 5)], milestones=[6]
    ),
}


def optimizer(lib: Any, kind: str = "SGD", rate: Any = 0.1) -> Any:
    groups = [{"params": [lib.ones(1, requires_grad=True)]}, {"params": [lib.ones(1, requires_grad=True)], "lr": 0.3}]
    return getattr(lib.optim, kind)(groups, lr=rate, **({"momentum": 0.9} if kind == "SGD" else {}))


def settings(o: Any) -> list[tuple[float, float]]:
    return [(float(g["lr"]), g["momentum"] if "momentum" in g else g["betas"][0]) for g in o.param_groups]


def run(lib: Any, make: Make, steps: int, kind: str = "SGD") -> list[Any]:
    o = optimizer(lib, kind)
    scheduler = make(lib.optim.lr_scheduler, o)
    seen = [settings(o)]
    for _ in range(steps):
        o.step()
        scheduler.step()
        seen.append(settings(o))
        assert scheduler.get_last_lr() == [rate for rate, _ in seen[-1]]
    return seen


def flat(nested: Any) -> list[float]:
    return [nested] if isinstance(nested, float | int) else [x for part in nested for x in flat(part)]


@pytest.fixture
def quiet_torch() -> Any:
    """PyTorch warns when epochs are given; and both warn when a chain in a sequence makes its first step."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The epoch parameter")
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler")
        yield


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", CASES)
def test_rates_are_pytorchs(name: str, kind: str, quiet_torch: None) -> None:
    mine, other = run(pb, CASES[name], 25, kind), run(torch, CASES[name], 25, kind)
    assert flat(mine) == pytest.approx(flat(other), rel=1e-12, abs=1e-15)
    assert len({tuple(map(tuple, s)) for s in mine}) > 1


@pytest.mark.parametrize("source", [pb, torch], ids=["ours", "pytorch's"])
@pytest.mark.parametrize("name", CASES)
def test_a_saved_schedule_goes_on(name: str, source: Any, quiet_torch: None) -> None:
    whole = run(pb, CASES[name], 20)
    o = optimizer(source)
    scheduler = CASES[name](source.optim.lr_scheduler, o)
    for _ in range(7):
        o.step()
        scheduler.step()
    saved = scheduler.state_dict()
    if source is pb:
        saved = pickle.loads(pickle.dumps(saved))
    later = optimizer(pb)
    resumed = CASES[name](pb.optim.lr_scheduler, later)
    resumed.load_state_dict(saved)
    later.load_state_dict({**later.state_dict(), "param_groups": o.state_dict()["param_groups"]})
    rates = [settings(later)]
    for _ in range(13):
        later.step()
        resumed.step()
        rates.append(settings(later))
    assert flat(rates) == pytest.approx(flat(whole[7:]), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", [n for n in CASES if "seq" not in n and "chain" not in n])
def test_a_jump_to_an_epoch_is_pytorchs(name: str, quiet_torch: None) -> None:
    results = []
    for lib in (pb, torch):
        o = optimizer(lib)
        scheduler = CASES[name](lib.optim.lr_scheduler, o)
        seen = []
        for epoch in (3, 8, 2, 0, 14):
            o.step()
            scheduler.step(epoch)
            seen.append(settings(o))
        results.append(flat(seen))
    assert results[0] == pytest.approx(results[1], rel=1e-12, abs=1e-15)


def test_restarts_take_fractions_of_epochs() -> None:
    results = []
    for lib in (pb, torch):
        for factor in (1, 2):
            o = optimizer(lib)
            scheduler = lib.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3, factor)
            for i in range(30):
                scheduler.step(i / 3)
                results.append(settings(o))
    assert flat(results[:60]) == pytest.approx(flat(results[60:]), rel=1e-12)
    with pytest.raises(ValueError, match="Expected non-negative epoch"):
        pb.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer(pb), 3).step(-1)


@pytest.mark.parametrize("name", ["step", "cosine", "exponential", "linear", "polynomial", "constant", "multistep"])
def test_a_run_is_resumed_by_its_last_epoch(name: str) -> None:
    rates = []
    for lib in (pb, torch):
        o = optimizer(lib)
        for group in o.param_groups:
            group["initial_lr"] = group["lr"] * 2
        resume: dict[str, Callable[[Any], Any]] = {
            "step": lambda s, o=o: s.StepLR(o, 3, last_epoch=4),
            "cosine": lambda s, o=o: s.CosineAnnealingLR(o, 6, last_epoch=4),
            "exponential": lambda s, o=o: s.ExponentialLR(o, 0.9, last_epoch=4),
            "linear": lambda s, o=o: s.LinearLR(o, last_epoch=2),
            "polynomial": lambda s, o=o: s.PolynomialLR(o, 9, last_epoch=4),
            "constant": lambda s, o=o: s.ConstantLR(o, last_epoch=4),
            "multistep": lambda s, o=o: s.MultiStepLR(o, [5, 7], last_epoch=4),
        }
        scheduler = resume[name](lib.optim.lr_scheduler)
        for _ in range(8):
            rates.append(settings(o))
            o.step()
            scheduler.step()
    assert flat(rates[:8]) == pytest.approx(flat(rates[8:]), rel=1e-12)


def test_resuming_needs_the_initial_rates() -> None:
    with pytest.raises(KeyError, match="initial_lr"):
        pb.optim.lr_scheduler.StepLR(optimizer(pb), 3, last_epoch=4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 2, "factor": 0.5},
        {"patience": 0, "cooldown": 2, "factor": 0.5},
        {"patience": 1, "mode": "max", "threshold": 0.1},
        {"patience": 1, "mode": "max", "threshold": 0.3, "threshold_mode": "abs"},
        {"patience": 1, "threshold": 0.3, "threshold_mode": "abs", "min_lr": [0.05, 0.01]},
        {"patience": 0, "factor": 0.1, "min_lr": 1e-3, "eps": 1e-2},
    ],
    ids=str,
)
def test_plateaus_are_pytorchs(options: dict[str, Any]) -> None:
    metrics = [5.0, 4.0, 4.2, 4.1, 4.0, 3.9, 3.95, 4.0, 4.1, 4.0, 2.0, 2.5, float("nan"), 2.2, 2.1, 2.05, 2.01, 2.0] * 2
    rates: list[Any] = []
    states = []
    for lib in (pb, torch):
        o = optimizer(lib)
        scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(o, **options)
        for metric in metrics:
            o.step()
            scheduler.step(lib.tensor(metric))
            rates.append((settings(o), scheduler.get_last_lr()))
        states.append(scheduler.state_dict())
    assert flat(rates[: len(metrics)]) == pytest.approx(flat(rates[len(metrics) :]), rel=1e-12)
    assert states[0] == {k: v for k, v in states[1].items() if k != "optimizer"}


def test_a_plateau_follows_new_groups() -> None:
    for min_lr, fails in ((0.01, False), ([0.01, 0.01], True)):
        o = optimizer(pb)
        scheduler = pb.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0, min_lr=min_lr)
        o.add_param_group({"params": [pb.ones(1)], "lr": 1.0})
        scheduler.step(1.0)
        if fails:
            with pytest.raises(RuntimeError, match="number of param groups"):
                scheduler.step(2.0)
        else:
            scheduler.step(2.0)
            assert o.param_groups[2]["lr"] == 0.1


def test_a_rate_in_a_tensor_stays_that_tensor() -> None:
    rate = pb.tensor(0.4)
    o = pb.optim.SGD([pb.ones(1, requires_grad=True)], lr=rate)
    scheduler = pb.optim.lr_scheduler.ExponentialLR(o, 0.5)
    o.step()
    scheduler.step()
    assert o.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.2)
    assert scheduler.base_lrs == pytest.approx([0.4])


def test_a_rate_set_by_hand_is_kept_by_chainable_rules() -> None:
    o = optimizer(pb)
    scheduler = pb.optim.lr_scheduler.ExponentialLR(o, 0.5)
    o.param_groups[0]["lr"] = 8.0
    o.step()
    scheduler.step()
    assert o.param_groups[0]["lr"] == 4.0


def test_a_callable_object_is_saved_with_its_state() -> None:
    rules = pb.optim.lr_scheduler
    scheduler = rules.LambdaLR(optimizer(pb), [Halving(0.25), lambda epoch: 1.0])
    saved = scheduler.state_dict()
    assert saved["lr_lambdas"] == [{"factor": 0.25}, None]
    other = rules.LambdaLR(optimizer(pb), [Halving(0.5), lambda epoch: 1.0])
    other.load_state_dict(saved)
    assert other.lr_lambdas[0].factor == 0.25
    assert saved["lr_lambdas"] == [{"factor": 0.25}, None]
    cyclic = rules.CyclicLR(optimizer(pb), 0.1, 0.2, scale_fn=Halving(0.25))
    again = rules.CyclicLR(optimizer(pb), 0.1, 0.2, scale_fn=Halving())
    again.load_state_dict(cyclic.state_dict())
    assert again.scale_fn(1) == 0.25


def test_stepping_the_schedule_before_the_optimizer_warns() -> None:
    o = optimizer(pb)
    scheduler = pb.optim.lr_scheduler.StepLR(o, 2)
    with pytest.warns(UserWarning, match=r"Detected call of `lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()
    scheduler.step()


BAD: list[Make] = [
    lambda s, o: s.StepLR(3, 2),
    lambda s, o: s.LambdaLR(o, [lambda epoch: 1.0]),
    lambda s, o: s.MultiplicativeLR(o, 0.5),
    lambda s, o: s.ConstantLR(o, factor=2.0),
    lambda s, o: s.LinearLR(o, start_factor=0.0),
    lambda s, o: s.LinearLR(o, end_factor=2.0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, T_mult=0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, eta_min="low"),
    lambda s, o: s.CyclicLR(o, [0.1], 0.2),
    lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="square"),
    lambda s, o: s.OneCycleLR(o, 0.1),
    lambda s, o: s.OneCycleLR(o, 0.1, total_steps=0),
    lambda s, o: s.OneCycleLR(o, 0.1, epochs=2, steps_per_epoch=-1),
    lambda s, o: s.OneCycleLR(o, 0.1, total_steps=9, pct_start=2.0),
    lambda s, o: s.OneCycleLR(o, 0.1, total_steps=9, anneal_strategy="square"),
    lambda s, o: s.ReduceLROnPlateau(o, factor=1.0),
    lambda s, o: s.ReduceLROnPlateau(o, mode="best"),
    lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="best"),
    lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1]),
    lambda s, o: s.ChainedScheduler([]),
    lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]),
    lambda s, o: s.SequentialLR(o, [s.StepLR(o, 2)], milestones=[3]),
    lambda s, o: s.SequentialLR(o, [3], milestones=[]),
]


@pytest.mark.parametrize("make", BAD, ids=[str(i) for i in range(len(BAD))])
def test_misuse_raises_as_in_pytorch(make: Make) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        make(torch.optim.lr_scheduler, optimizer(torch))
    words = " ".join(str(caught.value).split()[:3])
    with pytest.raises(type(caught.value)) as found:
        make(pb.optim.lr_scheduler, optimizer(pb))
    assert str(found.value).startswith(words)


def test_rates_and_momentum_need_an_optimizer_with_momentum() -> None:
    o = pb.optim.Adagrad([pb.ones(1)])
    for make in (
        lambda: pb.optim.lr_scheduler.CyclicLR(o, 0.1, 0.2),
        lambda: pb.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=9),
    ):
        with pytest.raises(ValueError, match="optimizer must support momentum or beta1"):
            make()


def test_one_cycle_ends() -> None:
    o = optimizer(pb)
    scheduler = pb.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=2)
    o.step()
    scheduler.step()
    scheduler.step()
    with pytest.raises(ValueError, match="Tried to step 3 times"):
        scheduler.step()
