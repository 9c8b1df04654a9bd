"""The first wrong line of backwards that are written by hand: one line is changed, and that line has to be named."""

import importlib.util
import itertools
import sys
import textwrap
import threading

import numpy as np
import pytest

import pullback as pb
from pullback.check.locate import locate
from pullback.check.naming import bases, canonical
from pullback.check.observe import Observer

rng = np.random.default_rng(5)
_numbers = itertools.count()

LOGISTIC = """
    import numpy as np

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def f(w, b, X, y):
        z = X @ w + b
        p = sigmoid(z)
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    def backward(w, b, X, y):
        n = len(y)
        p = sigmoid(X @ w + b)
        dp = (p - y) / (p * (1 - p)) / n
        slope = p * (1 - p)
        dz = dp * slope
        dw = X.T @ dz
        db = dz.sum()
        return dw, db, np.outer(dz, w), None
    """

MLP_FUNCTION = """
    import numpy as np

    def f(W1, b1, W2, b2, x, t):
        z1 = x @ W1 + b1
        h1 = np.tanh(z1)
        y = h1 @ W2 + b2
        return 0.5 * np.mean(np.sum((y - t) ** 2, axis=1))

    def backward(W1, b1, W2, b2, x, t):
        h1 = np.tanh(x @ W1 + b1)
        y = h1 @ W2 + b2
        grad_y = (y - t) / len(x)
        grad_W2 = h1.T @ grad_y
        grad_b2 = grad_y.sum(axis=0)
        grad_h1 = grad_y @ W2.T
        grad_z1 = grad_h1 * (1 - h1 ** 2)
        grad_W1 = x.T @ grad_z1
        grad_b1 = grad_z1.sum(axis=0)
        return grad_W1, grad_b1, grad_W2, grad_b2, grad_z1 @ W1.T, None
    """

MLP_CACHE = """
    import numpy as np

    def affine_forward(x, w, b):
        out = x @ w + b
        return out, (x, w, b)

    def affine_backward(dout, cache):
        x, w, b = cache
        dx = dout @ w.T
        dw = x.T @ dout
        db = dout.sum(axis=0)
        return dx, dw, db

    def relu_forward(x):
        return np.maximum(x, 0), x

    def relu_backward(dout, x):
        dx = dout.copy()
        dx[x <= 0] = 0
        return dx

    def forward(x, params):
        a, c1 = affine_forward(x, params["W1"], params["b1"])
        h, c2 = relu_forward(a)
        scores, c3 = affine_forward(h, params["W2"], params["b2"])
        return scores, (c1, c2, c3)

    def f(x, params):
        return forward(x, params)[0]

    def backward(dscores, x, params):
        scores, (c1, c2, c3) = forward(x, params)
        grads = {}
        dh, grads["W2"], grads["b2"] = affine_backward(dscores, c3)
        da = relu_backward(dh, c2)
        dx, grads["W1"], grads["b1"] = affine_backward(da, c1)
        for name in ("W1", "W2"):
            grads[name] += 0.0 * params[name]
        return dx, grads
    """

MLP_CLASS = """
    import numpy as np

    class Net:
        def __init__(self, seed=0):
            rng = np.random.default_rng(seed)
            self.p = 0.5
            self.cache = {}

        def forward(self, x, W1, W2):
            self.cache["x"] = x
            self.cache["z_1"] = x @ W1
            self.cache["a_1"] = 1 / (1 + np.exp(-self.cache["z_1"]))
            self.W2 = W2
            self.W1 = W1
            self.z_2 = self.cache["a_1"] @ W2
            return np.exp(self.z_2)

        def backward(self, g):
            dz_2 = g * np.exp(self.z_2)
            self.dW2 = self.cache["a_1"].T @ dz_2
            da_1 = dz_2 @ self.W2.T
            a = self.cache["a_1"]
            dz_1 = da_1 * a * (1 - a)
            self.dW1 = self.cache["x"].T @ dz_1
            self.dx = dz_1 @ self.W1.T

    net = Net()
    f = net.forward

    def backward(g, x, W1, W2):
        net.forward(x, W1, W2)
        net.backward(g)
        return net.dx, net.dW1, net.dW2
    """

CONVOLUTION = """
    import numpy as np

    def f(x, w, b):
        n, c, h, v = x.shape
        k, _, r, s = w.shape
        rows = []
        for i in range(h - r + 1):
            row = []
            for j in range(v - s + 1):
                patch = x[:, :, i:i + r, j:j + s]
                row.append(np.tensordot(patch, w, axes=([1, 2, 3], [1, 2, 3])) + b)
            rows.append(np.stack(row, axis=-1))
        return np.stack(rows, axis=-2)

    def backward(dout, x, w, b):
        dx = np.zeros_like(x)
        dw = np.zeros_like(w)
        n, k, p, q = dout.shape
        r, s = w.shape[2:]
        for m in range(n):
            for o in range(k):
                for i in range(p):
                    for j in range(q):
                        dw[o] += dout[m, o, i, j] * x[m, :, i:i + r, j:j + s]
                        dx[m, :, i:i + r, j:j + s] += dout[m, o, i, j] * w[o]
        db = dout.sum(axis=(0, 2, 3))
        return dx, dw, db
    """

RNN = """
    import numpy as np

    def f(x, W, U, V):
        h = np.zeros(U.shape[0])
        ys = []
        for t in range(len(x)):
            z = x[t] @ W + h @ U
            h = np.tanh(z)
            ys.append(h @ V)
        return np.stack(ys)

    def backward(dys, x, W, U, V):
        hs = [np.zeros(U.shape[0])]
        for t in range(len(x)):
            hs.append(np.tanh(x[t] @ W + hs[-1] @ U))
        dW, dU, dV = np.zeros_like(W), np.zeros_like(U), np.zeros_like(V)
        dx = np.zeros_like(x)
        dh_next = np.zeros(U.shape[0])
        for t in reversed(range(len(x))):
            dV += np.outer(hs[t + 1], dys[t])
            dh = dys[t] @ V.T + dh_next
            dz = dh * (1 - hs[t + 1] ** 2)
            dW += np.outer(x[t], dz)
            dU += np.outer(hs[t], dz)
            dx[t] = dz @ W.T
            dh_next = dz @ U.T
        return dx, dW, dU, dV
    """

LAYER_NORM = """
    import numpy as np

    def f(x, gamma, beta):
        mu = x.mean(axis=1, keepdims=True)
        xc = x - mu
        var = np.mean(xc ** 2, axis=1, keepdims=True)
        ivar = 1 / np.sqrt(var + 1e-5)
        xhat = xc * ivar
        return gamma * xhat + beta

    def backward(dy, x, gamma, beta):
        n = x.shape[1]
        mu = x.mean(axis=1, keepdims=True)
        xc = x - mu
        var = np.mean(xc ** 2, axis=1, keepdims=True)
        ivar = 1 / np.sqrt(var + 1e-5)
        xhat = xc * ivar
        dgamma = np.sum(dy * xhat, axis=0)
        dbeta = np.sum(dy, axis=0)
        dxhat = dy * gamma
        divar = np.sum(dxhat * xc, axis=1, keepdims=True)
        dvar = -0.5 * divar * ivar ** 3
        dxc = dxhat * ivar
        dxc = dxc + 2 * xc * dvar / n
        dmu = -dxc.sum(axis=1, keepdims=True)
        dx = dxc + dmu / n
        return dx, dgamma, dbeta
    """

SOFTMAX = """
    import numpy as np

    def f(logits, onehot):
        shifted = logits - logits.max(axis=1, keepdims=True)
        logp = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return -np.sum(onehot * logp) / len(logits)

    def backward(logits, onehot):
        n = len(logits)
        shifted = logits - logits.max(axis=1, keepdims=True)
        e = np.exp(shifted)
        probs = e / e.sum(axis=1, keepdims=True)
        dlogp = -onehot / n
        dlogits = dlogp - probs * dlogp.sum(axis=1, keepdims=True)
        return dlogits, None
    """

ATTENTION = """
    import numpy as np

    def softmax(s):
        e = np.exp(s - s.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def f(x, Wq, Wk, Wv):
        q = x @ Wq
        k = x @ Wk
        v = x @ Wv
        scores = q @ k.T / np.sqrt(q.shape[1])
        attn = softmax(scores)
        return attn @ v

    def backward(g, x, Wq, Wk, Wv):
        q, k, v = x @ Wq, x @ Wk, x @ Wv
        scale = np.sqrt(q.shape[1])
        attn = softmax(q @ k.T / scale)
        g_v = attn.T @ g
        g_attn = g @ v.T
        inner = (g_attn * attn).sum(axis=-1, keepdims=True)
        g_scores = attn * (g_attn - inner)
        g_q = g_scores @ k / scale
        g_k = g_scores.T @ q / scale
        g_Wq, g_Wk, g_Wv = x.T @ g_q, x.T @ g_k, x.T @ g_v
        g_x = g_q @ Wq.T
        g_x += g_k @ Wk.T
        g_x += g_v @ Wv.T
        return g_x, g_Wq, g_Wk, g_Wv
    """


def normal(*shape):
    return rng.standard_normal(shape)


X = normal(6, 4)
PARAMS = {"W1": normal(4, 5), "b1": normal(5), "W2": normal(5, 3), "b2": normal(3)}
MODELS = {
    "logistic": (LOGISTIC, [normal(3), 0.3, normal(7, 3), np.array([0.0, 1, 1, 0, 1, 0, 0])], True),
    "mlp": (MLP_FUNCTION, [*(PARAMS[n] for n in ("W1", "b1", "W2", "b2")), X, normal(6, 3)], True),
    "mlp cache": (MLP_CACHE, [X, PARAMS], False),
    "mlp class": (MLP_CLASS, [X, normal(4, 5), normal(5, 3)], False),
    "convolution": (CONVOLUTION, [normal(2, 3, 5, 5), normal(4, 3, 3, 2), normal(4)], False),
    "rnn": (RNN, [normal(5, 3), normal(3, 4), normal(4, 4), normal(4, 2)], False),
    "layer norm": (LAYER_NORM, [normal(4, 6), normal(6), normal(6)], False),
    "softmax": (SOFTMAX, [normal(5, 4), np.eye(4)[[0, 3, 1, 1, 2]]], True),
    "attention": (ATTENTION, [normal(5, 4), normal(4, 3), normal(4, 3), normal(4, 3)], False),
}

FAULTS = [
    # the model, what stands in the wrong line, what is written there instead, the kind if it is clear
    ("logistic", "dz = dp * slope", "dz = -dp * slope", "sign"),
    ("logistic", "dp = (p - y) / (p * (1 - p)) / n", "dp = (p - y) / (p * (1 - p))", "one_over_n"),
    ("logistic", "slope = p * (1 - p)", "slope = sigmoid(p) * (1 - sigmoid(p))", None),
    ("logistic", "p = sigmoid(X @ w + b)", "p = sigmoid(X @ w)", "wrong_point"),
    ("logistic", "db = dz.sum()", "db = dz.mean()", "one_over_n"),
    ("logistic", "dw = X.T @ dz", "dw = 2 * X.T @ dz", "factor"),
    ("mlp", "grad_y = (y - t) / len(x)", "grad_y = y - t", "one_over_n"),
    ("mlp", "grad_z1 = grad_h1 * (1 - h1 ** 2)", "grad_z1 = grad_h1 * (1 - h1)", "wrong_formula"),
    ("mlp", "grad_z1 = grad_h1 * (1 - h1 ** 2)", "grad_z1 = grad_h1", "wrong_formula"),
    ("mlp", "grad_h1 = grad_y @ W2.T", "grad_h1 = t @ W2.T", "wrong_formula"),
    ("mlp", "grad_b1 = grad_z1.sum(axis=0)", "grad_b1 = grad_z1", "broadcast"),
    ("mlp", "grad_W2 = h1.T @ grad_y", "grad_W2 = grad_y.T @ h1", "transpose"),
    ("mlp cache", "dx[x <= 0] = 0", "dx[x <= 0] = 1", "wrong_formula"),
    ("mlp cache", "dx = dout @ w.T", "dx = -dout @ w.T", "sign"),
    ("mlp cache", "db = dout.sum(axis=0)", "db = dout.mean(axis=0)", "one_over_n"),
    ("mlp cache", 'grads[name] += 0.0 * params[name]', "grads[name] += 0.5 * params[name]", "wrong_formula"),
    ("mlp class", "dz_1 = da_1 * a * (1 - a)", "dz_1 = da_1 * a", "wrong_formula"),
    ("mlp class", "self.dx = dz_1 @ self.W1.T", "self.dx = 0 * dz_1 @ self.W1.T", "zero"),
    ("mlp class", "dz_2 = g * np.exp(self.z_2)", "dz_2 = g * np.exp(-self.z_2)", "wrong_formula"),
    ("mlp class", "self.dW1 = self.cache[\"x\"].T @ dz_1", "self.dW1 = self.cache[\"x\"].T @ da_1", "wrong_formula"),
    ("convolution", "dw[o] += dout[m, o, i, j]", "dw[o] = dout[m, o, i, j]", None),
    ("convolution", "* w[o]", "* w[o, :, ::-1]", "wrong_formula"),
    ("convolution", "db = dout.sum(axis=(0, 2, 3))", "db = dout.mean(axis=(0, 2, 3))", None),
    ("rnn", "dz = dh * (1 - hs[t + 1] ** 2)", "dz = dh * (1 - hs[t] ** 2)", "index"),
    ("rnn", "dh = dys[t] @ V.T + dh_next", "dh = dys[t] @ V.T", "missing_term"),
    ("rnn", "dU += np.outer(hs[t], dz)", "dU += np.outer(hs[t + 1], dz)", "wrong_formula"),
    ("rnn", "dW += np.outer(x[t], dz)", "dW = np.outer(x[t], dz)", None),
    ("rnn", "dx[t] = dz @ W.T", "dx[t - 1] = dz @ W.T", "index"),
    ("layer norm", "dvar = -0.5 * divar * ivar ** 3", "dvar = -0.5 * divar * ivar ** 2", "wrong_formula"),
    ("layer norm", "dxc = dxc + 2 * xc * dvar / n", "dxc = dxc + 2 * xc * dvar", None),
    ("layer norm", "dgamma = np.sum(dy * xhat, axis=0)", "dgamma = np.sum(dy * xc, axis=0)", "wrong_point"),
    ("layer norm", "dx = dxc + dmu / n", "dx = dxc", "missing_term"),
    ("layer norm", "dmu = -dxc.sum(axis=1, keepdims=True)", "dmu = dxc.sum(axis=1, keepdims=True)", "sign"),
    ("softmax", "dlogp = -onehot / n", "dlogp = -onehot", "one_over_n"),
    ("softmax", "dlogits = dlogp - probs * dlogp", "dlogits = dlogp + probs * dlogp", None),
    ("softmax", "probs = e / e.sum(axis=1", "probs = e / e.sum(axis=0", None),
    ("attention", "g_scores = attn * (g_attn - inner)", "g_scores = attn * g_attn", "wrong_formula"),
    ("attention", "g_k = g_scores.T @ q / scale", "g_k = g_scores @ q / scale", "transpose"),
    ("attention", "g_x += g_k @ Wk.T", "g_x = g_k @ Wk.T", "overwrite"),
    ("attention", "g_x = g_q @ Wq.T", "g_x = g_q @ Wk.T", None),
    ("attention", "g_attn = g @ v.T", "g_attn = -g @ v.T", "sign"),
]  # fmt: skip


@pytest.fixture
def load(tmp_path):
    """Modules from source, in files of their own so that their lines can be read."""

    def module_of(source):
        path = tmp_path / f"model_{next(_numbers)}.py"
        path.write_text(textwrap.dedent(source))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return module_of


def located(module, args, is_scalar):
    if is_scalar:
        return locate(module.f, lambda cotangent, *xs: module.backward(*xs), args, 1.0)
    shape = np.shape(module.f(*args))
    return locate(module.f, module.backward, args, np.random.default_rng(1).standard_normal(shape))


@pytest.mark.parametrize("name", MODELS)
def test_every_line_of_a_right_backward_agrees(load, name):
    source, args, is_scalar = MODELS[name]
    found = located(load(source), args, is_scalar)
    assert not found.findings
    verdicts = [row["verdict"] for row in found.lines]
    assert verdicts.count("agrees") >= 2
    wrong = [row for row in found.lines if row["verdict"] == "disagrees"]
    assert not wrong


@pytest.mark.parametrize(("name", "right", "wrong", "kind"), FAULTS, ids=lambda x: str(x)[:40])
def test_the_wrong_line_is_named(load, name, right, wrong, kind):
    source, args, is_scalar = MODELS[name]
    head, definition, tail = source.rpartition("def backward") if "class" not in name else ("", "", source)
    if right not in tail:  # in a helper
        head, definition, tail = "", "", source
    assert tail.count(right) == 1
    planted = head + definition + tail.replace(right, wrong)
    module = load(planted)
    line = 1 + next(i for i, text in enumerate(textwrap.dedent(planted).split("\n")) if wrong in text)
    found = located(module, args, is_scalar)
    assert found.findings
    first = found.findings[0]
    assert first.line == f"{module.__file__}:{line}"
    assert wrong in first.step
    if kind is not None:
        assert first.kind == kind
    assert any(row["verdict"] == "disagrees" for row in found.lines)
    assert sys.gettrace() is None or "coverage" in sys.modules


def test_the_correction_is_named(load):
    source, args, is_scalar = MODELS["softmax"]
    wrong = source.replace("dlogits = dlogp - probs", "dlogits = dlogp + probs")
    (first,) = located(load(wrong), args, is_scalar).findings
    assert first.message.endswith("Right would be `dlogp - probs * dlogp.sum(axis=1, keepdims=True)`")


def test_two_wrong_lines_are_both_named(load):
    source, args, is_scalar = MODELS["mlp"]
    wrong = source.replace("grad_b2 = grad_y", "grad_b2 = 7 * grad_y").replace("grad_W1 = x", "grad_W1 = -x")
    found = located(load(wrong), args, is_scalar)
    assert {(f.kind, f.argument, f.step.split()[0]) for f in found.findings} == {
        ("factor", "b2", "grad_b2"),
        ("sign", "W1", "grad_W1"),
    }


def test_what_is_made_good_later_is_no_error(load):
    module = load("""
        import numpy as np

        def f(w, X, y):
            z = X @ w
            return 0.5 * np.mean((z - y) ** 2)

        def backward(w, X, y):
            dz = z = X @ w - y
            dX = np.outer(dz, w)
            dX /= len(y)
            return 2 * X.T @ dz / len(y), dX, None
        """)
    found = located(module, [normal(3), normal(8, 3), normal(8)], True)
    (first,) = found.findings
    assert (first.kind, first.argument, first.line.rpartition(":")[2]) == ("factor", "w", "12")


def test_names():
    plain = "dh_1 dh1 d_h1 grad_h1 h1_grad h1_bar g_h1 gh1 delta_h1 dLdh1 dL_dh1 dloss_dh1"
    for name in (*plain.split(), "h1.grad", "self.dh_1", "grads['h1']", "grads['dh1']", "self.grads['h_1']"):
        assert "h1" in bases(name), name
    assert "W0" in bases("grads[0]") or "W0" in bases("dW[0]")
    assert "z1" in bases("delta1")
    assert "h" in bases("dh_next", carried=True)
    assert "h" not in bases("dh_next")
    assert not bases("x.T @ dz")
    assert canonical("self.cache['z_1']") == canonical("z1") == "z1"
    assert canonical("params['W'][0]") == "W0"


# The observer


def helper(x):
    y = 2 * x
    y += 1
    return y


class Machine:
    def run(self, x):
        self.cache = {"a": x + 1.0, "b": [x - 1.0]}
        self.z = helper(x)
        total = np.zeros(3)
        for i in range(3):
            total[i] += i + self.z[i]
        return total, [float(v) for v in x]


def test_assignments_are_observed():
    observer = Observer()
    x = np.arange(3.0)
    observer.run(Machine().run, x)
    seen = {}
    for step in observer.steps:
        seen.setdefault(step.name, []).append(step)
    np.testing.assert_array_equal(seen["self.cache['a']"][-1].value, x + 1)
    np.testing.assert_array_equal(seen["self.cache['b'][0]"][-1].value, x - 1)
    assert [s.value.tolist() for s in seen["y"]] == [[0, 2, 4], [1, 3, 5]]
    np.testing.assert_array_equal(seen["self.z"][-1].value, [1, 3, 5])
    assert [s.value.tolist() for s in seen["total"]] == [[0, 0, 0], [1, 4, 7]]
    assert seen["y"][0] in seen["y"][1].reads
    assert seen["self.z"][0] in seen["total"][-1].reads
    assert seen["total"][-1].statement.text.startswith("total[i] += i")


def test_values_of_loops_are_kept():
    def loop(x):
        for _ in range(100):
            x = x * 1.01
        return x

    observer = Observer()
    observer.run(loop, np.ones(2))
    values = [s.value[0] for s in observer.steps if s.name == "x" and not s.is_argument]
    np.testing.assert_allclose(values, 1.01 ** np.arange(37, 101), rtol=1e-12)


def test_tracing_ends_with_the_run():
    def fails(x):
        y = x * 2
        raise ValueError("no", y)

    before = sys.gettrace()
    with pytest.raises(ValueError, match="no"):
        Observer().run(fails, np.ones(2))
    assert sys.gettrace() is before


def test_other_threads_are_not_traced():
    found = []

    def work(x):
        thread = threading.Thread(target=lambda: found.append(sys.gettrace()))
        thread.start()
        thread.join()
        return x

    Observer().run(work, np.ones(2))
    assert found == [None]


def test_code_without_a_source_is_observed():
    names = {}
    exec("def f(x):\n    y = x * 2\n    return y + 1", names)
    observer = Observer()
    observer.run(names["f"], np.ones(2))
    assert [(s.name, s.line) for s in observer.steps if s.name == "y"] == [("y", 2)]


def test_compiled_functions_are_no_error():
    assert not locate(np.sin, lambda g, x: g * np.cos(x), [np.ones(3)], np.ones(3)).findings
    observer = Observer()
    assert observer.run(np.add, 1.0, 2.0) == 3.0
    assert not observer.steps


def test_whatever_fails_fails_quietly():
    def backward(g, x):
        raise RuntimeError

    found = locate(lambda x: 2 * x, backward, [np.ones(3)], np.ones(3))
    assert not found.findings
    assert not found.lines


# In a check


def test_a_check_has_the_table(load):
    source, args, _ = MODELS["layer norm"]
    module = load(source.replace("divar * ivar ** 3", "divar * ivar ** 2"))
    report = pb.check_vjp(module.f, module.backward, *args, seed=1)
    assert report.verdict == "refuted"
    row = next(row for row in report.lines if row["verdict"] == "disagrees")
    assert row["local"] == "dvar"
    assert row["matches"] == "var"
    assert any(f.line == row["line"] and "ivar ** 3" in f.message for f in report.findings)


def test_functions_of_torch():
    torch = pytest.importorskip("torch")

    class Layer(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            z = x @ w
            y = torch.tanh(z)
            ctx.save_for_backward(x, w, y)
            return y

        @staticmethod
        def backward(ctx, dy):
            x, w, y = ctx.saved_tensors
            dz = dy * (1 - y)
            return dz @ w.T, x.T @ dz

    report = pb.check(Layer, torch.ones(4, 3).double() / 3, torch.linspace(0, 1, 6).double().reshape(3, 2), seed=1)
    assert report.verdict == "refuted"
    row = next(row for row in report.lines if row["verdict"] == "disagrees")
    assert row["source"] == "dz = dy * (1 - y)"
    assert any(f.step == row["source"] for f in report.findings)


def test_rules_of_jax():
    jax = pytest.importorskip("jax")

    @jax.custom_vjp
    def layer(x, w):
        z = x @ w
        return jax.numpy.sin(z)

    def forward(x, w):
        z = x @ w
        return jax.numpy.sin(z), (x, w, z)

    def backward(kept, g):
        x, w, z = kept
        dz = g * jax.numpy.cos(z)
        dx = dz @ w.T
        dw = 2 * x.T @ dz
        return dx, dw

    layer.defvjp(forward, backward)
    with jax.enable_x64(True):
        args = jax.numpy.asarray(normal(4, 3)), jax.numpy.asarray(normal(3, 2))
        report = pb.check(layer, *args, seed=1)
    assert report.verdict == "refuted"
    wrong = [row for row in report.lines if row["verdict"] == "disagrees"]
    assert [row["source"] for row in wrong] == ["dw = 2 * x.T @ dz"]
    assert wrong[0]["how"] == "times 2"


def test_a_gradient_that_is_missing(load):
    module = load("""
        import numpy as np

        def f(x, w):
            return np.sum(x * w)

        def backward(x, w):
            return w, None
        """)
    assert not located(module, [normal(3), normal(3)], True).findings
    report = pb.check(module.f, module.backward, normal(3), normal(3), seed=1)
    first = report.findings[0]
    assert (first.kind, first.step) == ("zero", "return w, None")


def test_gradients_in_the_wrong_order(load):
    module = load("""
        import numpy as np

        def f(x, w):
            return np.sum(x**2 * w)

        def backward(x, w):
            dx = 2 * x * w
            dw = x**2
            return dw, dx
        """)
    first, *_ = located(module, [normal(3), normal(3)], True).findings
    assert (first.kind, first.step) == ("swapped_args", "return dw, dx")


def test_what_all_wrong_gradients_were_made_of(load):
    module = load("""
        import numpy as np

        def f(W, b, x):
            return np.sum(np.sin(x @ W + b))

        def backward(W, b, x):
            slope = np.cos(x @ W)
            return x.T @ slope, slope.sum(axis=0), slope @ W.T
        """)
    (first,) = located(module, [normal(3, 2), normal(2), normal(4, 3)], True).findings
    assert first.step == "slope = np.cos(x @ W)"
