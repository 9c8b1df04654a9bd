"""Compiled training steps: after five of them parameters, buffers and gradients are the eager ones up to rounding."""

import copy

import numpy as np
import pytest

import pullback as pb
from pullback import nn, optim
from pullback.nn import functional as F

RNG = np.random.default_rng(0)
BATCHES = [
    (
        pb.tensor(RNG.standard_normal((8, 4)).astype(np.float32)),
        pb.tensor(RNG.standard_normal((8, 2)).astype(np.float32)),
    )
    for _ in range(5)
]


def mlp():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


def trainer(build=mlp, optimizer=lambda p: optim.SGD(p, lr=0.1), loss=F.mse_loss, before=None, zero=True):
    """A function that makes a module, what else is kept, and a step."""

    def make():
        net = build()
        opt = optimizer(net.parameters())

        def step(x, y):
            if zero:
                opt.zero_grad()
            value = loss(net(x), y)
            value.backward()
            if before is not None:
                before(net)
            opt.step()
            return value

        return net, opt, step

    return make


def train(make, compiled, between=None):
    pb.manual_seed(0)
    net, kept, step = make()
    f = pb.jit(step) if compiled else step
    pb.manual_seed(7)
    losses = []
    for i, batch in enumerate(BATCHES):
        losses.append(f(*batch).item())
        if between is not None:
            between(i, net, kept)
    grads = {name: p.grad for name, p in net.named_parameters()}
    return losses, net.state_dict(), grads, f


def check(make, between=None, versions=1, tol=3e-5):
    """Trains alike; the step is compiled no more than `versions` times."""
    wanted, mine = train(make, False, between), train(make, True, between)
    np.testing.assert_allclose(mine[0], wanted[0], rtol=10 * tol)
    for name, value in wanted[1].items():
        np.testing.assert_allclose(mine[1][name].numpy(), value.numpy(), rtol=10 * tol, atol=tol, err_msg=name)
    for name, grad in wanted[2].items():
        assert (grad is None) is (mine[2][name] is None), name
        if grad is not None:
            np.testing.assert_allclose(mine[2][name].numpy(), grad.numpy(), rtol=30 * tol, atol=tol, err_msg=name)
    assert mine[3].cache_info().misses <= versions


OPTIMIZERS = {
    "SGD": {"lr": 0.1},
    "SGD momentum": {"lr": 0.1, "momentum": 0.9},
    "SGD nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "SGD weight_decay": {"lr": 0.1, "weight_decay": 0.1},
    "SGD dampening": {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "maximize": True},
    "Adam": {"lr": 0.01},
    "Adam amsgrad": {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1},
    "AdamW": {"lr": 0.01},
    "RMSprop": {"lr": 0.01},
    "RMSprop centered": {"lr": 0.01, "momentum": 0.5, "centered": True},
    "Adagrad": {"lr": 0.1},
    "Adadelta": {},
    "Adamax": {"lr": 0.01},
    "NAdam": {"lr": 0.01},
    "RAdam": {"lr": 0.01},
    "ASGD": {"lr": 0.01},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    options = OPTIMIZERS[name]
    first_differs = "momentum" in options and name.startswith("SGD")
    check(trainer(optimizer=lambda p: getattr(optim, name.split()[0])(p, **options)), versions=1 + first_differs)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)
        self.c = self.a

    def forward(self, x):
        return self.b(F.relu(self.c(F.relu(self.a(x)))))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(10, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.embedding((x[:, 0].abs() * 3).long() % 10))


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 3, 2, bias=False), nn.BatchNorm2d(3), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(F.max_pool2d(F.relu(self.norm(self.conv(x.view(8, 1, 2, 2)))), 1).flatten(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.rnn(x.view(8, 2, 2))[0][:, -1])


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = mlp()
        self.register_buffer("count", pb.zeros((), dtype=pb.int64))

    def forward(self, x):
        self.count += 1
        return self.inner(x) / self.count


NETWORKS = {
    "dropout": lambda: nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3), nn.Linear(6, 2)),
    "batch norm": lambda: nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)),
    "layer norm": lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 2)),
    "shared": Shared,
    "embedding": Words,
    "convolution": Image,
    "recurrent": Recurrent,
    "buffer": Counting,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    check(trainer(NETWORKS[name]))


def test_losses_and_clipping():
    check(trainer(loss=lambda output, y: F.cross_entropy(output, y.argmax(1))))
    for order in (2.0, 1.0, float("inf")):
        check(trainer(before=lambda net, p=order: nn.utils.clip_grad_norm_(net.parameters(), 0.1, p)))
    check(trainer(before=lambda net: nn.utils.clip_grad_value_(net.parameters(), 0.01)))


def test_gradients_accumulate_and_may_be_dropped():
    check(trainer(zero=False), versions=2)

    def drop(i, net, _):
        if i == 2:
            for p in net.parameters():
                p.grad = None

    check(trainer(zero=False), drop, versions=2)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: optim.lr_scheduler.StepLR(o, 2, 0.1),
        lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 5),
        lambda o: optim.lr_scheduler.ExponentialLR(o, 0.5),
    ],
)
def test_learning_rates_change_without_compiling(schedule):
    def make():
        net, opt, step = trainer(optimizer=lambda p: optim.SGD(p, lr=0.1, momentum=0.9))()
        return net, schedule(opt), step

    check(make, lambda i, net, schedule: schedule.step(), versions=2)


def test_a_scheduler_in_the_step_is_refused():
    net = mlp()
    opt = optim.SGD(net.parameters(), lr=0.1)
    schedule = optim.lr_scheduler.ExponentialLR(opt, 0.5)

    def step(x, y):
        F.mse_loss(net(x), y).backward()
        opt.step()
        schedule.step()

    with pytest.raises(TypeError, match=r"scheduler.step\(\) after the compiled function"):
        pb.jit(step)(*BATCHES[0])
    assert opt.param_groups[0]["lr"] == 0.1


def test_other_options_are_compiled_in():
    def change(i, net, opt):
        opt.param_groups[0]["weight_decay"] = 0.1 if i % 2 else 0

    check(trainer(), change, versions=2)


def freeze(i, net, opt):
    if i == 1:
        net[0].weight.requires_grad_(False)


def load(i, net, opt):
    if i == 2:
        net.load_state_dict({name: value * 0.5 for name, value in net.state_dict().items()})
        opt.load_state_dict(copy.deepcopy(opt.state_dict()))


def exchange(i, net, opt):
    if i == 2:
        net[0].weight = nn.Parameter(net[0].weight.detach() * 0.5)
    if i == 3:
        net[2].weight.data = net[2].weight.data * 0.5


@pytest.mark.parametrize("between", [freeze, load, exchange])
def test_state_changes_between_steps(between):
    check(trainer(), between, versions=3)
    check(trainer(optimizer=lambda p: optim.Adam(p, lr=0.01)), between, versions=3)


def test_training_and_evaluation_alternate():
    build = lambda: nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2))  # noqa: E731
    check(trainer(build), lambda i, net, _: net.train(i % 2 == 1), versions=2)


def test_other_ways_to_write_a_step():
    def two_optimizers():
        net = mlp()
        first = optim.SGD(net[0].parameters(), lr=0.1)
        second = optim.AdamW([{"params": [net[2].weight], "lr": 0.05}, {"params": [net[2].bias]}], lr=0.01)

        def step(x, y):
            first.zero_grad(set_to_none=False)
            second.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward(retain_graph=True)
            (loss * 2).backward()
            first.step()
            second.step()
            return loss.detach()

        return net, None, step

    def penalty():
        net = mlp()
        opt = optim.Adam(net.parameters(), lr=0.01)

        def step(x, y):
            opt.zero_grad()
            x = x.detach().clone().requires_grad_()
            (slope,) = pb.autograd.grad(net(x).sum(), x, create_graph=True)
            loss = (slope.norm(dim=1) - 1).pow(2).mean()
            loss.backward()
            opt.step()
            return loss

        return net, opt, step

    def moving_average():
        net = mlp()
        target = copy.deepcopy(net)
        opt = optim.SGD(net.parameters(), lr=0.1)

        def step(x, y):
            opt.zero_grad()
            with pb.no_grad():
                wanted = target(x)
            loss = F.mse_loss(net(x), y) + F.mse_loss(net(x), wanted.detach())
            loss.backward()
            opt.step()
            with pb.no_grad():
                for a, b in zip(target.parameters(), net.parameters(), strict=True):
                    a.mul_(0.9).add_(b, alpha=0.1)
            return loss

        return nn.ModuleList([net, target]), opt, step

    def by_hand():
        net = mlp()

        def step(x, y):
            loss = F.mse_loss(net(x), y)
            parameters = list(net.parameters())
            with pb.no_grad():
                for p, g in zip(parameters, pb.autograd.grad(loss, parameters), strict=True):
                    p -= 0.1 * g
            return loss

        return net, None, step

    def closure():
        net = mlp()
        opt = optim.SGD(net.parameters(), lr=0.1)
        net[0].weight.register_hook(lambda g: g * 0.5)

        def step(x, y):
            def evaluate():
                opt.zero_grad()
                loss = F.mse_loss(net(x), y)
                loss.backward()
                return loss

            return opt.step(evaluate)

        return net, opt, step

    for make in (two_optimizers, penalty, moving_average, by_hand, closure):
        check(make, versions=2)
