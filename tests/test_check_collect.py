"""Finding what can be checked in a module, making arguments for it, and calling it."""

from __future__ import annotations

import inspect
import linecache
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Annotated, Any, get_type_hints

import numpy as np
import pytest

import pullback as pb
from pullback.check.collect import Result, collect, examine, is_worth_running, partners
from pullback.check.inputs import Guess, Wanted, guesses, search
from pullback.check.mark import mark_of
from pullback.cli.load import load

SEED = 5


@pytest.fixture
def module(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Makes a module of source text."""

    def make(text: str) -> ModuleType:
        path = tmp_path / f"users_{request.node.name.partition('[')[0]}_{abs(hash(text))}.py"
        path.write_text("import math\nimport numpy as np\nimport pullback as pb\n" + dedent(text), encoding="utf-8")
        return load(path)

    return make


def examined(module: ModuleType) -> dict[str, Result]:
    return {pair.name: examine(pair, SEED) for pair in collect(module)}


# Each is a file's text, and the name of its one pair; of `«right|wrong»` the second is a fault.

FUNCTIONS = {
    "sphere": "def sphere(x): return np.sum(x**2)\ndef sphere_grad(x): return «2|3» * x",
    "f": "def f(x, y): return x**2 * y + math.sin(y)\ndef grad_f(x, y): return 2*x*y, x**2«+ math.cos(y)|»",
    "area": "def area(r: float) -> float: return math.pi * r**2\ndef darea(r): return «2|1» * math.pi * r",
    "tanh": "def tanh(x): return np.tanh(x)\ndef tanh_prime(x): return 1 - np.tanh(x)**«2|1»",
    "himmelblau": """
        def himmelblau(p):
            x, y = p
            return (x**2 + y - 11)**2 + (x + y**2 - 7)**2
        def himmelblau_grad(p):
            x, y = p
            return [4*x*(x**2 + y - 11) + 2*(x + y**2 - 7), 2*(x**2 + y - 11) + «4|2»*y*(x + y**2 - 7)]
        """,
    "mse": """
        def mse(X, y, w): return np.mean((X @ w - y)**2)
        def mse_grad(X, y, w): return 2 * X.T @ (X @ w - y) / len(«y|w»)
        """,
    "logistic": """
        def logistic(X, y, w, b, penalty=0.1):
            z = X @ w + b
            return np.mean(np.log(1 + np.exp(z)) - y * z) + penalty * w @ w
        def logistic_grad(X, y, w, b, penalty=0.1):
            e = (1 / (1 + np.exp(-(X @ w + b))) - y) / len(y)
            dw = X.T @ e + «2|1» * penalty * w
            return dw, e.sum()
        """,
    "bce": """
        def bce(yhat, y): return -np.mean(y * np.log(yhat) + (1 - y) * np.log(1 - yhat))
        def dbce(yhat, y): return (yhat - y) / (yhat * (1 - yhat)) / «y.size|1»
        """,
    "logdet": "def logdet(A): return np.log(np.linalg.det(A))\ndef logdet_grad(A): return np.linalg.inv(A)«.T|**2»",
    "nll": """
        def nll(mu, sigma, x): return np.sum(((x - mu) / sigma)**2 / 2 + np.log(sigma))
        def nll_grad(mu, sigma, x):
            r = (x - mu) / sigma
            return -np.sum(r) / sigma, np.sum(1 «-|+» r**2) / sigma
        """,
    "cross_entropy": """
        def cross_entropy(logits, labels):
            p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            return -np.mean(np.log(p[np.arange(len(labels)), labels]))
        def cross_entropy_grad(logits, labels):
            p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            p[np.arange(len(labels)), labels] -= «1|2»
            return p / len(labels)
        """,
    "model": """
        def model(params, x, y):
            return np.mean((np.tanh(x @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"] - y)**2)
        def model_grad(params, x, y):
            h = np.tanh(x @ params["W1"] + params["b1"])
            d = 2 * (h @ params["W2"] + params["b2"] - y) / y.size
            dz = d @ params["W2"].T * (1 - h**«2|1»)
            return {"W1": x.T @ dz, "b1": dz.sum(0), "W2": h.T @ d, "b2": d.sum(0)}
        """,
    "affine_forward": """
        def affine_forward(x, w, b):
            return x @ w + b, (x, w)
        def affine_backward(dout, cache):
            x, w = cache
            dx, dw, db = dout @ w.T, x.T @ dout, dout.«sum|mean»(0)
            return dx, dw, db
        """,
    "relu": "def relu(x): return np.maximum(x, 0)\ndef relu_backward(grad, x): return grad * (x «>|<» 0)",
    "sigmoid": """
        def sigmoid(z):
            s = 1 / (1 + np.exp(-z))
            return s
        def sigmoid_backward(dout, s): return dout * s * (1 «-|+» s)
        """,
    "scale": "def scale(x, *, c): return np.sum(c * x)\ndef scale_grad(x, *, c): return «c|1» * np.ones_like(x)",
    "dot": "def dot(x, v): return np.sum(x * v)\ndef dot_jvp(x, v, dx, dv): return np.sum(dx * v«+ x * dv|»)",
    "norm2": "def norm2(x): return np.sum(x**2)\ndef norm2_hess(x): return «2|1» * np.eye(len(x))",
    "softmax": """
        def softmax(z): return np.exp(z) / np.exp(z).sum()
        def softmax_jacobian(z):
            s = np.exp(z) / np.exp(z).sum()
            return np.diag(s) «-|+» np.outer(s, s)
        """,
    "forward": "def forward(x): return np.sin(x)\ndef backward(g, x): return g * np.«cos|sin»(x)",
}

CLASSES = {
    "Linear": """
        class Linear:
            def __init__(self, in_features, out_features):
                self.W = np.random.randn(in_features, out_features)
                self.b = np.zeros(out_features)
            def forward(self, x):
                self.x = x
                return x @ self.W + self.b
            def backward(self, grad_output):
                self.dW, self.db = self.x.T @ grad_output, grad_output.sum(0)
                return grad_output @ «self.W.T|abs(self.W.T)»
        """,
    "Net": """
        class Net:
            def __init__(self, input_size, hidden_size, output_size):
                self.params = {"W1": np.random.randn(input_size, hidden_size), "b1": np.zeros(hidden_size),
                               "W2": np.random.randn(hidden_size, output_size)}
            def forward(self, X):
                self.cache = {"X": X, "h": np.tanh(X @ self.params["W1"] + self.params["b1"])}
                s = np.exp(self.cache["h"] @ self.params["W2"])
                self.cache["p"] = s / s.sum(1, keepdims=True)
                return self.cache["p"]
            def loss(self, X, y):
                return -np.mean(np.log(self.forward(X)[np.arange(len(y)), y]))
            def backward(self, y):
                d = self.cache["p"].copy()
                d[np.arange(len(y)), y] -= 1
                d /= len(y)
                dz = d @ self.params["W2"].T * (1 «-|+» self.cache["h"]**2)
                self.grads = {"W1": self.cache["X"].T @ dz, "b1": dz.sum(0), "W2": self.cache["h"].T @ d}
        """,
    "MLP": """
        class MLP:
            def __init__(self, layer_sizes):
                self.weights = [np.random.randn(a, b) for a, b in zip(layer_sizes, layer_sizes[1:])]
            def forward(self, x):
                self.a = [x]
                for w in self.weights:
                    self.a.append(np.tanh(self.a[-1] @ w))
                return self.a[-1]
            def loss(self, y_pred, y):
                return np.mean((y_pred - y)**2)
            def backward(self, y_pred, y):
                d = 2 * (y_pred - y) / y.size
                self.dweights = [None] * len(self.weights)
                for i in reversed(range(len(self.weights))):
                    d = d * (1 - self.a[i + 1]**2)
                    self.dweights[i] = «|-»self.a[i].T @ d
                    d = d @ self.weights[i].T
        """,
    "Stack": """
        class Dense:
            def __init__(self, n, m):
                self.W = np.random.randn(n, m)
            def forward(self, x):
                self.x = x
                return x @ self.W
            def backward(self, g):
                self.grad_W = self.x.T @ g
                return g @ self.W.T
        class Stack:
            def __init__(self):
                self.layers = [Dense(2, 6), Dense(6, 1)]
            def forward(self, x):
                for layer in self.layers:
                    x = «layer.forward(x)|np.tanh(layer.forward(x))»
                return x
            def backward(self, g):
                for layer in reversed(self.layers):
                    g = layer.backward(g)
                return g
        """,
    "MSE": """
        class MSE:
            def __call__(self, pred, target):
                self.pred, self.target = pred, target
                return np.mean((pred - target)**2)
            def backward(self):
                return 2 * (self.pred - self.target) / «self.pred.size|3»
        """,
    "Dropout": """
        class Dropout:
            def __init__(self, p=0.5):
                self.p = p
            def forward(self, x):
                self.mask = (np.random.rand(*x.shape) > self.p) / (1 - self.p)
                return x * self.mask
            def backward(self, g):
                return g * self.«mask|p»
        """,
    "RNN": """
        class RNN:
            def __init__(self, input_dim, hidden_dim):
                self.Wx, self.Wh = np.random.randn(input_dim, hidden_dim), np.random.randn(hidden_dim, hidden_dim)
            def forward(self, x, h0):
                self.x, self.h = x, [h0]
                for t in range(x.shape[1]):
                    self.h.append(np.tanh(x[:, t] @ self.Wx + self.h[-1] @ self.Wh))
                return np.stack(self.h[1:], 1)
            def backward(self, dout):
                self.dWx, self.dWh = np.zeros_like(self.Wx), np.zeros_like(self.Wh)
                dx, dh0 = np.zeros_like(self.x), 0
                for t in reversed(range(self.x.shape[1])):
                    d = (dout[:, t] «+ dh0|») * (1 - self.h[t + 1]**2)
                    self.dWx += self.x[:, t].T @ d
                    self.dWh += self.h[t].T @ d
                    dx[:, t], dh0 = d @ self.Wx.T, d @ self.Wh.T
                return dx, dh0
        """,
    "Accumulating": """
        class Accumulating:
            def __init__(self, n_in, n_out):
                self.w = np.random.randn(n_in, n_out)
                self.dw = np.zeros((n_in, n_out))
            def zero_grad(self): «self.dw[:] = 0|pass»
            def forward(self, x):
                self.x = x
                return x @ self.w
            def backward(self, g):
                self.dw += self.x.T @ g
        """,
}


FRAMEWORKS = {
    "Scale": """
        import torch
        class Scale(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, w):
                ctx.save_for_backward(x, w)
                return x * w
            @staticmethod
            def backward(ctx, g):
                x, w = ctx.saved_tensors
                return g * w, g * «x|w»
        """,
    "mul": """
        import jax, jax.numpy as jnp
        @jax.custom_vjp
        def mul(x, y): return jnp.sin(x) * y
        def mul_fwd(x, y): return mul(x, y), (x, y)
        def mul_bwd(saved, g): return jnp.cos(saved[0]) * saved[1] * g, jnp.«sin|cos»(saved[0]) * g
        mul.defvjp(mul_fwd, mul_bwd)
        """,
    "energy": """
        import torch
        def energy(x): return torch.sum(torch.exp(x))
        def energy_grad(x): return torch.exp(«x|-x»)
        """,
}


def variant(text: str, which: int) -> str:
    return re.sub("«(.*?)[|](.*?)»", lambda found: found[which + 1], dedent(text))


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES, *FRAMEWORKS])
def test_right_ones_are_confirmed_and_wrong_ones_refuted(name: str, module: Any) -> None:
    text = {**FUNCTIONS, **CLASSES, **FRAMEWORKS}[name]
    right, wrong = (examined(module(variant(text, which)))[name] for which in (0, 1))
    assert (right.verdict, right.message) == ("confirmed", "")
    assert wrong.verdict == "refuted", wrong.message
    assert wrong.kind
    assert wrong.report is not None
    assert Path(wrong.file).suffix == ".py"
    assert linecache.getline(wrong.file, wrong.line).strip().startswith(("def", "class", "@"))


def test_findings_name_the_users_lines_and_arguments(module: Any) -> None:
    result = examined(module(variant(FUNCTIONS["logistic"], 1)))["logistic"]
    assert result.report is not None
    assert [a["name"] for a in result.report.arguments] == ["w", "b"]
    assert any((finding.line or "").startswith(result.file) for finding in result.report.findings)
    accumulating = examined(module(variant(CLASSES["Accumulating"], 1)))["Accumulating"]
    assert accumulating.kind == "accumulate"
    net = examined(module(variant(CLASSES["Net"], 1)))["Net"].report
    assert net is not None
    assert [a["name"] for a in net.arguments] == ["params_W1", "params_b1", "params_W2"]


# Inputs that the author has written


def test_the_decorator_marks_and_returns_the_function() -> None:
    def f(x: Any) -> Any:
        return np.sum(x)

    @pb.gradient_of(f, inputs=(np.ones(2),), form="gradient")
    def g(x: Any) -> Any:
        return np.ones_like(x)

    mark = mark_of(g)
    assert mark is not None
    assert mark.f is f
    assert mark_of(f) is None
    with pytest.raises(TypeError, match="takes the function whose gradient"):
        pb.gradient_of(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="form is one of gradient, vjp"):
        pb.gradient_of(f, form="backward")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "inputs",
    [
        "inputs=(np.arange(3.0), 2.0)",
        "inputs=[np.arange(3.0), 2.0]",
        'inputs={"x": np.arange(3.0), "k": 2.0}',
        "inputs=lambda: (np.arange(3.0), 2.0)",
        "inputs=lambda rng: (rng.standard_normal(3), 2.0)",
    ],
)
def test_the_inputs_of_the_decorator(inputs: str, module: Any) -> None:
    text = f"""
        def energy(x, k): return k * np.sum(x[:3] ** 2) if x.shape == (3,) and k == 2.0 else 1 / 0
        @pb.gradient_of(energy, {inputs})
        def force(x, k): return 2 * k * x
        """
    assert examined(module(text))["energy"].verdict == "confirmed"


@pytest.mark.parametrize(
    "function",
    [
        "def pullback_inputs_energy(): return (Config(3.0),)",
        "def pullback_inputs_energy(rng): return {'cfg': Config(rng.uniform())}",
        "def pullback_inputs(): return (Config(3.0),)",
        "def pullback_inputs(): return {'energy': (Config(3.0),)}",
    ],
)
def test_the_inputs_of_the_module(function: str, module: Any) -> None:
    text = """
        from dataclasses import dataclass
        @dataclass
        class Config:
            a: float
        def energy(cfg): return cfg.a ** 2
        def energy_grad(cfg): return Config(2 * cfg.a)
        """
    assert examined(module(text))["energy"].verdict == "unusable"
    assert examined(module(dedent(text) + function))["energy"].verdict == "confirmed"


def test_an_instance_may_be_given(module: Any) -> None:
    text = variant(CLASSES["Linear"], 1).replace("in_features, out_features", "spec") + (
        "\ndef pullback_inputs_Linear(rng):\n    layer = Linear.__new__(Linear)\n"
        "    layer.W, layer.b = -abs(rng.standard_normal((3, 2))), np.ones(2)\n"
        "    return layer, rng.standard_normal((4, 3))"
    )
    result = examined(module(text))["Linear"]
    assert result.verdict == "refuted"
    assert result.report is not None
    assert [a["shape"] for a in result.report.arguments] == [[3, 2], [2], [4, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(c): return c.a\ndef df(c): return 1.0", "Write  def pullback_inputs_f(): return (c,)"),
        ("def f(x): return np.sum(x)\ndef df(x): raise RuntimeError('no')", "df raises RuntimeError: no"),
        ("def f(x): return np.sum(x)\ndef df(x, other, more): return x", "the parameter other of df is none of f's"),
        (
            "class A:\n def __init__(self, c): c.x\n def forward(self, x): return x\n def backward(self, g): return g",
            "no A",
        ),
        (
            "def f(x): return np.sum(x)\n@pb.gradient_of(f, inputs=lambda: 1 / 0)\ndef g(x): return x",
            "ZeroDivisionError",
        ),
        ("def f(x, y): return np.sum(x)\n@pb.gradient_of(f, inputs=(1.0,))\ndef g(x, y): return x", "nothing for y"),
    ],
)
def test_what_cannot_be_checked_says_what_to_write(text: str, message: str, module: Any) -> None:
    (result,) = examined(module(text)).values()
    assert result.verdict == "unusable"
    assert message in result.message
    assert result.report is None


# Finding


def test_what_is_no_pair_is_not_found(module: Any) -> None:
    text = """
        from scipy.optimize import rosen, rosen_der
        class Base:
            def forward(self, x): raise NotImplementedError
            def backward(self, g): raise NotImplementedError
        def grad(x): return x
        def gradually(x): return x
        def helper(x): return x
        dx = 3.0
        """
    assert collect(module(text)) == []


def test_two_gradients_of_one_function_are_told_apart(module: Any) -> None:
    text = "def f(x): return np.sum(x**2)\ndef df(x): return 2 * x\ndef f_grad(x): return 3 * x\n"
    text += "def f_jvp(x, dx): return 2 * x @ dx"
    found = examined(module(text))
    assert {name: result.verdict for name, result in found.items()} == {
        "f": "confirmed",
        "f:f_grad": "refuted",
        "f:f_jvp": "confirmed",
    }


def test_the_frameworks_are_not_imported(tmp_path: Path) -> None:
    path = tmp_path / "plain.py"
    path.write_text("def f(x): return x * x\ndef df(x): return 2 * x\n")
    code = (
        "import sys; from pathlib import Path; from pullback.cli.load import load; "
        "from pullback.check.collect import collect, examine; "
        f"assert [examine(p, 0).verdict for p in collect(load(Path({str(path)!r})))] == ['confirmed']; "
        "assert not {'torch', 'jax', 'tensorflow', 'joblib', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "name", ["f_grad", "grad_f", "df", "d_f", "f_prime", "f_backward", "f_vjp", "f_jvp", "f_jac", "f_hess"]
)
def test_names_of_gradients(name: str) -> None:
    assert "f" in [partner for partner, _ in partners(name)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(x): ...\ndef df(x): ...", True),
        ("from a import loss\ndef loss_grad(w): ...", True),
        ("class A:\n  def forward(self): ...\n  def backward(self): ...", True),
        ("@pb.gradient_of(f)\ndef g(x): ...", True),
        ("f = jax.custom_vjp(g)", True),
        ("def f(x): ...\ndef g(x): ...", False),
        ("class A:\n  def backward(self): ...", False),
        ("def broken(", False),
    ],
)
def test_files_are_read_before_they_are_run(source: str, expected: bool) -> None:
    assert is_worth_running(source) is expected


# Making inputs


def wanted(f: Any, annotations: dict[str, Any] | None = None) -> dict[str, Guess]:
    parameters = list(inspect.signature(f).parameters.values())
    found = guesses(parameters, annotations or {}, inspect.getdoc(f) or "", {})
    return {w.name: w.guesses[0] for w in found}


def test_shapes_from_annotations_agree() -> None:
    def f(x: Annotated[np.ndarray, "n d"], w: Any, b: Annotated[np.ndarray, ("k",)], s: float, c: Any) -> None: ...

    annotations = get_type_hints(f, include_extras=True) | {"w": 'Float[Array, "d k"]', "c": "NDArray[(2, 3)]"}
    shapes = {name: guess.shape for name, guess in wanted(f, annotations).items()}
    assert shapes["x"][1] == shapes["w"][0]
    assert shapes["w"][1:] == shapes["b"]
    assert len({*shapes["x"], *shapes["w"]}) == 3
    assert shapes["s"] == ()
    assert shapes["c"] == (2, 3)


def test_shapes_from_the_docstring_agree() -> None:
    def f(x: Any, w: Any, y: Any) -> None:
        """Something.

        - x: input data, of shape (N, D)
        w : array of shape (D, 4)
        y (N, 4): what it should be
        """

    shapes = {name: guess.shape for name, guess in wanted(f).items()}
    assert shapes["x"][1] == shapes["w"][0]
    assert shapes["w"][1] == shapes["y"][1] == 4
    assert shapes["x"][0] == shapes["y"][0]


def test_defaults_are_kept_and_names_are_heard() -> None:
    def f(W1: Any, b1: Any, W2: Any, sigma: Any, labels: Any, axis: Any, alpha: float = 0.25) -> None: ...

    found = wanted(f)
    assert found["W1"].shape[1:] == found["b1"].shape == found["W2"].shape[:1]
    assert found["sigma"].domain == "positive"
    assert found["labels"].kind == "labels"
    assert found["axis"].kind == "constant"
    assert found["alpha"].value == 0.25


def test_values_depend_on_the_seed_and_the_name_only() -> None:
    guess = Guess("float", (3,))
    a, b, c, d = (guess.make(*given, "normal") for given in (("x", 1), ("x", 1), ("y", 1), ("x", 2)))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert not np.array_equal(a, d)


def test_the_search_takes_the_likeliest_first_and_every_domain() -> None:
    tried: list[Any] = []

    def attempt(values: list[Any]) -> Any:
        tried.append(values)
        x, y = values
        return "bad" if np.shape(x) != (2,) or np.shape(y) != () else "good" if y > 0.4 and y < 0.9 else "domain"

    options = [Wanted("x", (Guess("float"), Guess("float", (2,)))), Wanted("y", (Guess("float"),))]
    found = search(options, attempt, 3)
    assert found is not None
    assert np.shape(tried[0][0]) == ()
    assert len(tried) <= 5
    assert search(options, lambda values: "bad", 3) is None
