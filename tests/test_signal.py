"""pb.scipy.signal: values are SciPy's, derivatives those of its differences, in signals and coefficients."""

from typing import Any

import numpy as np
import pytest

import pullback as pb
from scipy_checks import agree, second_order

ss = pytest.importorskip("scipy.signal")
ours = pb.scipy.signal
NORMAL = np.random.default_rng(0).normal
MODES = ("full", "same", "valid")


def compare(name: str, *args: Any, **options: Any) -> None:
    """Both modes in each argument that is an array."""

    def flat(y: Any) -> Any:
        return np.concatenate([part.reshape(-1) for part in y]) if isinstance(y, tuple) else y

    for i, x in enumerate(args):
        if isinstance(x, np.ndarray):
            f, theirs = (
                lambda x, m=m, i=i: flat(getattr(m, name)(*args[:i], x, *args[i + 1 :], **options)) for m in (ours, ss)
            )
            agree(f, theirs, x)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["convolve", "correlate", "fftconvolve"])
def test_convolutions(name: str, mode: str) -> None:
    for first, second in (((7,), (4,)), ((4,), (7,)), ((4, 5), (3, 2)), ((3, 2), (4, 5))):
        if not (mode == "same" and first < second and len(first) > 1 and name != "correlate"):
            compare(name, NORMAL(size=first), NORMAL(size=second), mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["convolve2d", "correlate2d"])
def test_two_dimensions(name: str, mode: str) -> None:
    for options in ({}, {"boundary": "wrap"}, {"boundary": "symm"}, {"fillvalue": 1.5}):
        compare(name, NORMAL(size=(4, 5)), NORMAL(size=(3, 2)), mode=mode, **options)


def test_complex_signals() -> None:
    a, b = NORMAL(size=(2, 5)) @ np.eye(5) + 1j, NORMAL(size=(2, 3)) * 1j
    for name in ("convolve", "correlate"):
        found = getattr(ours, name)(pb.tensor(a), pb.tensor(b))
        np.testing.assert_allclose(found, getattr(ss, name)(a, b), atol=1e-12)


B, A = ss.butter(3, 0.3)
FILTERS: dict[str, tuple[Any, ...]] = {
    "plain": (B, A, NORMAL(size=12)),
    "scaled, of rows": (B[:2], 2 * A, NORMAL(size=(2, 6))),
    "of columns": (B, A, NORMAL(size=(6, 2)), 0),
    "finite": (B, np.array([2.0]), NORMAL(size=8)),
    "state": (B, A, NORMAL(size=8), -1, NORMAL(size=3)),
    "short, state": (B, A, NORMAL(size=2), -1, NORMAL(size=3)),
    "rows, state": (B, A, NORMAL(size=(2, 8)), -1, NORMAL(size=(2, 3))),
}


@pytest.mark.parametrize("name", FILTERS)
def test_lfilter(name: str) -> None:
    compare("lfilter", *FILTERS[name])


def test_filters_to_second_order_and_batched() -> None:
    second_order(lambda a: np.sum(ours.lfilter(B, a, np.ones(8)) ** 2), A)
    x = NORMAL(size=(3, 5))
    np.testing.assert_allclose(pb.vmap(lambda x: ours.lfilter(B, A, x))(x), ss.lfilter(B, A, x))


def test_sections() -> None:
    sections = ss.butter(4, 0.3, output="sos").tolist()
    compare("sosfilt", sections, NORMAL(size=9))
    compare("sosfilt", sections, NORMAL(size=9), -1, NORMAL(size=(2, 2)))


def test_detrend() -> None:
    compare("detrend", NORMAL(size=9))
    compare("detrend", NORMAL(size=(3, 9)), type="constant")
    compare("detrend", NORMAL(size=(9, 3)), axis=0, bp=[4])


@pytest.mark.parametrize("mode", ["interp", "mirror", "constant", "nearest", "wrap"])
@pytest.mark.parametrize("window", [4, 5])
def test_savgol(mode: str, window: int) -> None:
    compare("savgol_filter", NORMAL(size=11), window_length=window, polyorder=2, mode=mode)
    options = {"window_length": window, "polyorder": 2, "deriv": 1, "delta": 0.5, "axis": 0}
    compare("savgol_filter", NORMAL(size=(11, 2)), mode=mode, **options)


def test_arrays_are_scipys() -> None:
    found = ours.convolve(np.arange(4), np.arange(3))
    assert found.dtype.kind == "i"
    np.testing.assert_array_equal(found, ss.convolve(np.arange(4), np.arange(3)))
    with pytest.raises(ValueError, match="valid"):
        ours.convolve(pb.ones(2, 3), pb.ones(3, 2), "valid")
    with pytest.raises(ValueError, match="dimensionality"):
        ours.convolve(pb.ones(2, 3), pb.ones(3))
