"""`mygrad.nnet`: activations, losses, layers and initialisers, by pullback's."""

from numbers import Real

import numpy as np

import pullback as pb
from mygrad._functions import function
from mygrad._tensor import Tensor, _State, raw

F = pb.nn.functional


def _number(x, name):
    x = raw(x)
    if not isinstance(x, Real) and not (isinstance(x, np.ndarray) and x.dtype.kind in "fiu"):
        raise TypeError(f"{name} is a real number, not {x!r}")
    return x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x


def _of_tensors(call):
    """`call` with its first operand as a Tensor of pullback's."""
    return lambda x, *args, **kwargs: call(x if isinstance(x, pb.Tensor) else pb.asarray(x), *args, **kwargs)


# Activations

_elu = function("elu", lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0)), x))
_leaky = function("leaky_relu", _of_tensors(F.leaky_relu))
_hard_tanh = function("hard_tanh", lambda x, low, high: np.maximum(np.minimum(x, high), low))
_glu = function("glu", _of_tensors(F.glu))
_softmax = function("softmax", _of_tensors(F.softmax))
_logsoftmax = function("logsoftmax", _of_tensors(F.log_softmax))
relu = function("relu", _of_tensors(F.relu))
selu = function("selu", _of_tensors(F.selu))
sigmoid = function("sigmoid", _of_tensors(F.sigmoid))
soft_sign = function("soft_sign", _of_tensors(F.softsign))


def elu(x, alpha, *, constant=None):
    return _elu(x, _number(alpha, "alpha"), constant=constant)


def leaky_relu(x, slope, *, constant=None):
    return _leaky(x, _number(slope, "slope"), constant=constant)


def hard_tanh(x, *, lower_bound=-1, upper_bound=1, constant=None):
    return _hard_tanh(x, _number(lower_bound, "lower_bound"), _number(upper_bound, "upper_bound"), constant=constant)


def glu(x, axis=-1, *, constant=None):
    axis = raw(axis)
    axis = axis.item() if isinstance(axis, np.ndarray) else axis
    if not isinstance(axis, int):
        raise TypeError("axis is an integer")
    if np.shape(x)[axis] % 2:
        raise ValueError("the axis is split into halves")
    return _glu(x, axis, constant=constant)


def _along(call):
    def activation(x, axis=-1, *, constant=None):
        if np.ndim(x) == 0:
            x, axis = x.reshape(1) if isinstance(x, Tensor) else np.reshape(x, 1), 0
            return call(x, dim=axis, constant=constant).reshape(())
        every = tuple(range(np.ndim(x))) if axis is None else axis
        if isinstance(every, tuple):
            return _along_several(call, x, every, constant)
        return call(x, dim=axis, constant=constant)

    return activation


_log_several = function(
    "softmax_several",
    lambda x, axes, log: (lambda y: y if log else np.exp(y))(
        x - pb.scipy.special.logsumexp(x, axis=axes, keepdims=True)
    ),
)


def _along_several(call, x, axes, constant):
    return _log_several(x, axes, call is _logsoftmax, constant=constant)


softmax, logsoftmax = _along(_softmax), _along(_logsoftmax)


# Losses


def _check_classes(x, y_true):
    labels = raw(y_true)
    if np.ndim(x) != 2:
        raise ValueError("scores of shape (N, C)")
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        raise TypeError("labels are integers")
    if labels.shape != np.shape(x)[:1]:
        raise ValueError("labels of shape (N,)")
    return labels.astype(np.int64)


_cross = function("softmax_crossentropy", _of_tensors(lambda x, labels: F.cross_entropy(x, pb.asarray(labels))))
_picked = function("negative_log_likelihood", lambda x, labels, factors: -np.mean(_pick(x, labels) * factors))


def _pick(x, labels):
    return x[np.arange(len(labels)), labels]


def softmax_crossentropy(x, y_true, *, constant=None):
    return _cross(x, _check_classes(x, y_true), constant=constant)


def negative_log_likelihood(x, y_true, *, weights=None, constant=None):
    labels = _check_classes(x, y_true)
    weights = np.ones(np.shape(x)[1]) if weights is None else raw(weights)
    if weights.shape != np.shape(x)[1:]:
        raise ValueError("a weight for each class")
    return _picked(x, labels, weights[labels], constant=constant)


def _focal_formula(p, labels, alpha, gamma):
    p = _pick(p, labels)
    rest = np.clip(1 - p, 0, 1)
    return -alpha * (rest**gamma if gamma else 1.0) * np.log(p)


_focal = function("focal_loss", _focal_formula)
_softmax_focal = function(
    "softmax_focal_loss",
    _of_tensors(lambda x, labels, alpha, gamma: _focal_formula(F.softmax(x, 1), labels, alpha, gamma)),
)


def _with_focus(call):
    def loss(x, targets, *, alpha=1, gamma=0, constant=None):
        if not isinstance(gamma, Real) or gamma < 0:
            raise ValueError("gamma is not negative")
        return call(x, _check_classes(x, targets), alpha, gamma, constant=constant)

    return loss


focal_loss, softmax_focal_loss = _with_focus(_focal), _with_focus(_softmax_focal)
_hinge = function(
    "multiclass_hinge",
    _of_tensors(lambda x, labels, margin: F.multi_margin_loss(x, pb.asarray(labels), margin=margin) * x.shape[1]),
)
_ranking = function("margin_ranking_loss", lambda a, b, y, margin: np.mean(np.maximum(0.0, margin - y * (a - b))))


def multiclass_hinge(x, y_true, hinge=1.0, *, constant=None):
    return _hinge(x, _check_classes(x, y_true), hinge, constant=constant)


def margin_ranking_loss(x1, x2, y, margin, *, constant=None):
    if not 0 < np.ndim(x1) < 3 or np.shape(x1) != np.shape(x2):
        raise ValueError("scores of the same shape, (N,) or (N, D)")
    if any(np.asarray(raw(x)).dtype.kind != "f" for x in (x1, x2)):
        raise TypeError("scores are floats")
    if not isinstance(margin, Real) or margin < 0:
        raise ValueError("the margin is not negative")
    y = np.asarray(raw(y))
    if y.ndim > 1 or y.shape not in ((), (1,), np.shape(x1)[:1]):
        raise ValueError("a sign, or one for each row")
    y = y.reshape(-1, 1) if y.ndim and np.ndim(x1) == 2 else y
    return _ranking(x1, x2, y.astype(np.asarray(raw(x1)).dtype), margin, constant=constant)


# Layers


def sliding_window_view(arr, window_shape, step, dilation=None):
    """A view of windows: their places first, then the leading axes, then the windows."""
    if not hasattr(window_shape, "__iter__"):
        raise TypeError("window_shape is a sequence")
    window = tuple(window_shape)
    if not all(isinstance(n, int | np.integer) and n > 0 for n in window) or len(window) > arr.ndim:
        raise ValueError("windows of positive sizes, of no more axes than the array")
    step, dilation = (
        (n,) * len(window) if isinstance(n, int | np.integer) else tuple(n)
        for n in (step, 1 if dilation is None else dilation)
    )
    for name, numbers in (("step", step), ("dilation", dilation)):
        if len(numbers) != len(window) or not all(isinstance(n, int | np.integer) and n > 0 for n in numbers):
            raise ValueError(f"{name} is positive")
    wide = tuple((n - 1) * d + 1 for n, d in zip(window, dilation, strict=True))
    last = tuple(range(arr.ndim - len(window), arr.ndim))
    views = np.lib.stride_tricks.sliding_window_view(arr, wide, last)
    lead = arr.ndim - len(window)
    thin = (slice(None),) * lead + tuple(slice(None, None, s) for s in step)
    views = views[(*thin, *(slice(None, None, d) for d in dilation))]
    places = range(lead, arr.ndim)
    return np.moveaxis(views, places, range(len(window)))


def _sizes(x, count, name):
    found = (x,) * count if isinstance(x, int | np.integer) else tuple(x)
    if len(found) != count or any(not isinstance(n, int | np.integer) or n < (name != "padding") * 1 for n in found):
        raise ValueError(f"{name} of {found}")
    return tuple(map(int, found))


_conv = function("conv_nd", lambda x, w, **o: _convolution(x, w, **o))


def _convolution(x, w, stride, padding, dilation):
    rank = w.ndim - 2
    x, w = (v if isinstance(v, pb.Tensor) else pb.asarray(v) for v in (x, w))
    kernel = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    return kernel(x, w, stride=stride, padding=padding, dilation=dilation)


def conv_nd(x, filter_bank, *, stride, padding=0, dilation=1, constant=None):
    rank = np.ndim(x) - 2
    if np.ndim(x) < 3 or np.ndim(filter_bank) != np.ndim(x) or np.shape(x)[1] != np.shape(filter_bank)[1]:
        raise ValueError("x of shape (N, C, ...), filters of shape (F, C, ...)")
    stride, padding, dilation = (
        _sizes(v, rank, name) for v, name in ((stride, "stride"), (padding, "padding"), (dilation, "dilation"))
    )
    for n, k, s, p, d in zip(np.shape(x)[2:], np.shape(filter_bank)[2:], stride, padding, dilation, strict=True):
        if (n + 2 * p - d * (k - 1) - 1) % s or n + 2 * p < d * (k - 1) + 1:
            raise ValueError("the filters do not tile the array")
    return _conv(x, filter_bank, stride=stride, padding=padding, dilation=dilation, constant=constant)


def _pool_formula(x, pool, stride):
    windows = np.lib.stride_tricks.sliding_window_view(x, pool, tuple(range(x.ndim - len(pool), x.ndim)))
    lead = x.ndim - len(pool)
    windows = windows[(slice(None),) * lead + tuple(slice(None, None, s) for s in stride)]
    return np.max(windows, axis=tuple(range(windows.ndim - len(pool), windows.ndim)))


_pool = function("max_pool", _pool_formula)


def max_pool(x, pool, stride, *, constant=None):
    pool = tuple(pool)
    stride = _sizes(stride, len(pool), "stride")
    for n, p, s in zip(np.shape(x)[-len(pool) :], pool, stride, strict=True):
        if n < p or (n - p) % s:
            raise ValueError("the windows do not tile the array")
    return _pool(x, pool, stride, constant=constant)


def _norm_formula(x, gamma, beta, eps):
    axes = tuple(i for i in range(x.ndim) if i != 1)
    shape = tuple(n if i == 1 else 1 for i, n in enumerate(x.shape))
    y = (x - np.mean(x, axis=axes, keepdims=True)) / np.sqrt(np.var(x, axis=axes, keepdims=True) + eps)
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


_batchnorm = function("batchnorm", _norm_formula)


def batchnorm(x, *, gamma=None, beta=None, eps=1e-8, constant=None):
    return _batchnorm(x, gamma, beta, eps, constant=constant)


def _gru_formula(x, uz, wz, bz, ur, wr, br, uh, wh, bh, s0, masks):
    states = [s0]
    for t in range(x.shape[0]):
        s = states[-1]
        given = s if masks is None else s * masks[0]
        z = _logistic(np.matmul(x[t], uz) + np.matmul(given, wz) + bz)
        r = _logistic(np.matmul(x[t], ur) + np.matmul(given, wr) + br)
        h = np.tanh(np.matmul(x[t], uh) + np.matmul(r * given, wh) + bh)
        states.append((1 - z) * h + z * s)
    return np.stack(states)


def _logistic(x):
    return F.sigmoid(x) if isinstance(x, pb.Tensor) else 1 / (1 + np.exp(-x))


_gru = function("gru", _gru_formula)


def gru(x, uz, wz, bz, ur, wr, br, uh, wh, bh, s0=None, bp_lim=None, dropout=0.0, constant=None):
    if isinstance(s0, Tensor) and not s0.constant and _State.TRACK_GRAPH and constant is not True:
        raise ValueError("the first state is a constant")
    rows, size = np.shape(x)[1], np.shape(bz)[-1]
    start = np.zeros((rows, size), np.asarray(raw(x)).dtype) if s0 is None else raw(s0)
    masks = None
    if dropout:
        masks = (np.random.binomial(1, 1 - dropout, (rows, size)) / (1 - dropout),)
    return _gru(x, uz, wz, bz, ur, wr, br, uh, wh, bh, start, masks, constant=constant)


# Initialisers


def _drawn(name):
    def draw(shape, options, dtype, constant):
        if np.dtype(dtype).kind != "f":
            raise ValueError("weights are floats")
        made = pb.empty(*shape, dtype=pb.float64)
        getattr(pb.nn.init, name)(made, **options)
        return Tensor(made.numpy().astype(dtype), copy=False, constant=constant)

    return draw


def _shaped(shape):
    return tuple(shape[0]) if len(shape) == 1 and hasattr(shape[0], "__iter__") else tuple(shape)


def _scaled(name, gains):
    draw = _drawn(name)

    def initialiser(*shape, gain=1, dtype=np.float32, constant=None):
        shape = _shaped(shape)
        if len(shape) < 2:
            raise ValueError("weights of two axes or more")
        gain = float(raw(gain))
        options = {"gain": gain} if gains else {"a": (2 / gain**2 - 1) ** 0.5 if gain**2 <= 2 else 0.0}
        made = draw(shape, options, dtype, constant)
        if not gains and gain**2 > 2:
            made.data *= np.asarray(gain / 2**0.5, made.dtype)
        return made

    return initialiser


glorot_normal, glorot_uniform = _scaled("xavier_normal_", True), _scaled("xavier_uniform_", True)
he_normal, he_uniform = _scaled("kaiming_normal_", False), _scaled("kaiming_uniform_", False)


def normal(*shape, mean=0, std=1, dtype=np.float32, constant=None):
    if raw(std) < 0:
        raise ValueError("a deviation is not negative")
    return _drawn("normal_")(_shaped(shape), {"mean": float(raw(mean)), "std": float(raw(std))}, dtype, constant)


def uniform(*shape, lower_bound=0, upper_bound=1, dtype=np.float32, constant=None):
    low, high = float(raw(lower_bound)), float(raw(upper_bound))
    if low >= high:
        raise ValueError("the lower bound is below the upper")
    return _drawn("uniform_")(_shaped(shape), {"a": low, "b": high}, dtype, constant)


def constant(*shape, value=0.0, dtype=np.float32, constant=None):
    return Tensor(np.full(_shaped(shape), raw(value), dtype), copy=False, constant=constant)


def dirac(*shape, dtype=np.float32, constant=None):
    shape = _shaped(shape)
    if len(shape) < 2:
        raise ValueError("weights of two axes or more")
    made = np.zeros(shape, dtype)
    for i in range(min(shape[:2])):
        made[(i, i, *(n // 2 for n in shape[2:]))] = 1
    return Tensor(made, copy=False, constant=constant)
