"""Plots that training and descent ask for, in one style. Each returns its figure, and writes it to `path` if given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pullback.show.style import LIGHT, SERIES, new_figure, save_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["contour_path", "descent_path", "loss_curves", "vector_field"]

PathLike = str | os.PathLike[str]
_DASHES = ["-", (0, (5, 2)), (0, (1.5, 1.5)), "-.", (0, (8, 2, 1, 2))]


def loss_curves(
    losses: Mapping[str, ArrayLike],
    title: str = "Loss",
    path: PathLike | None = None,
    *,
    log: bool = False,
    best: float | None = None,
) -> Figure:
    """Each loss against the step, one line for each name; `best` draws the value that can't be improved on.

    Lines differ in colour and in dashes, so that equal ones can both be seen.
    """
    with styled():
        figure, (axes,) = new_figure(6.4, 3.4)
        for i, (name, values) in enumerate(losses.items()):
            values = np.asarray(values, float)
            axes.plot(
                np.arange(1, len(values) + 1), values, label=name,
                color=SERIES[i % len(SERIES)], linestyle=_DASHES[i % len(_DASHES)], linewidth=3.2 if i == 0 else 1.8,
                alpha=0.55 if i == 0 and len(losses) > 1 else 1,
            )  # fmt: skip
        if best is not None:
            axes.axhline(best, color=LIGHT["muted"], linewidth=1, linestyle=":", label=f"optimum {best:.5g}", zorder=1)
        if log:
            axes.set_yscale("log")
        _words(axes, title, "step", "loss")
        axes.margins(x=0.02)
        if len(losses) > 1 or best is not None:
            _legend(axes)
    return _finish(figure, path)


def descent_path(
    function: Callable[[NDArray[Any]], NDArray[Any]],
    steps: ArrayLike,
    title: str = "",
    path: PathLike | None = None,
    *,
    around: tuple[float, float] | None = None,
    minimum: float | None = None,
) -> Figure:
    """A function of one number with the points that a descent visited on it, first to last.

    `function` takes an array of points and gives their values; `around` is the interval shown (default: the steps' own,
    widened), `minimum` marks where it should have arrived.
    """
    visited = np.asarray(steps, float)
    reach = [*visited, *([] if minimum is None else [minimum])]
    low, high = around or (min(reach), max(reach))
    pad = 0.0 if around else 0.15 * ((high - low) or 1.0)
    grid = np.linspace(low - pad, high + pad, 400)
    with styled():
        figure, (axes,) = new_figure(6.4, 3.6)
        axes.plot(grid, function(grid), color=LIGHT["muted"], linewidth=1.4, zorder=1)
        _trail(axes, visited, function(visited))
        if minimum is not None:
            lowest = float(function(np.array([minimum]))[0])
            axes.axvline(minimum, color=LIGHT["green"], linewidth=1, linestyle=":", zorder=0)
            axes.annotate(
                f"minimum at {minimum:.4g}", (minimum, lowest), xytext=(6, -4), textcoords="offset points",
                color=LIGHT["green"], fontsize=9, va="top",
            )  # fmt: skip
            axes.margins(y=0.14)
        _words(axes, title, "x", "f(x)")
    return _finish(figure, path)


def contour_path(
    function: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]],
    paths: Mapping[str, ArrayLike],
    title: str = "",
    path: PathLike | None = None,
    *,
    labels: tuple[str, str] = ("x", "y"),
    minimum: tuple[float, float] | None = None,
    log: bool = False,
) -> Figure:
    """Level lines of a function of two numbers with the paths of descents on them, each of shape `(steps, 2)`.

    `function(x, y)` takes arrays of one shape and gives the values at their points. `log` spaces the levels evenly in
    the logarithm of the height above the lowest point.
    """
    tracks = {name: np.asarray(track, float) for name, track in paths.items()}
    points = np.concatenate([*tracks.values(), *([] if minimum is None else [np.array([minimum])])])
    low, high = points.min(0), points.max(0)
    pad = 0.18 * np.where(high > low, high - low, 1.0)
    (x0, y0), (x1, y1) = low - pad, high + pad
    x, y = np.meshgrid(np.linspace(x0, x1, 160), np.linspace(y0, y1, 160))
    z = np.asarray(function(x, y), float)
    levels = _levels(z, log)
    with styled():
        figure, (axes,) = new_figure(6.4, 4.6)
        axes.grid(visible=False)
        axes.contour(x, y, z, levels=levels, colors=LIGHT["muted"], linewidths=0.8, alpha=0.5, zorder=0)
        for i, (name, track) in enumerate(tracks.items()):
            _trail(axes, track[:, 0], track[:, 1], SERIES[i % len(SERIES)], name)
        if minimum is not None:
            axes.plot(*minimum, marker="*", markersize=13, color=LIGHT["green"], linestyle="", label="minimum")
        _words(axes, title, *labels)
        _legend(axes)
    return _finish(figure, path)


def vector_field(
    x: ArrayLike,
    y: ArrayLike,
    u: ArrayLike,
    v: ArrayLike,
    colour: ArrayLike,
    title: str = "",
    path: PathLike | None = None,
    *,
    labels: tuple[str, str] = ("x", "y"),
    colour_label: str = "",
) -> Figure:
    """Arrows `(u, v)` at the points `(x, y)` of a grid, all of shape `(rows, columns)`, over numbers in colour.

    Arrows stand at the inner points; their length grows with the cube root of the true one, so that small ones are
    seen too.
    """
    x, y, u, v, colour = (np.asarray(a, float) for a in (x, y, u, v, colour))
    size = np.hypot(u, v)
    scale = np.where(size > 0, np.cbrt(size) / np.where(size > 0, size, 1), 0)
    bound = float(np.abs(colour).max()) or 1.0
    with styled():
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.ticker import MaxNLocator

        figure, (axes,) = new_figure(6.4, 5.0)
        axes.grid(visible=False)
        diverging = LinearSegmentedColormap.from_list("pullback", ["#e39b54", "#f6f4ef", "#7aa9dd"])
        bands = axes.contourf(x, y, colour, levels=np.linspace(-bound, bound, 22), cmap=diverging)
        bands.set_edgecolor("face")  # no hairlines between the bands
        inside = (slice(1, -1), slice(1, -1))  # an arrow on the border would be cut
        axes.quiver(
            x[inside], y[inside], (u * scale)[inside], (v * scale)[inside],
            color="#20242c", width=0.0032, headwidth=3.6, pivot="mid", zorder=2,
        )  # fmt: skip
        bar = figure.colorbar(bands, ax=axes, shrink=0.9, ticks=MaxNLocator(7))
        bar.set_label(colour_label, parse_math=False)
        bar.outline.set_visible(False)
        axes.set_aspect("equal")
        _words(axes, title, *labels)
    return _finish(figure, path)


def _levels(z: NDArray[Any], log: bool) -> NDArray[Any]:
    finite = z[np.isfinite(z)]
    low, high = float(finite.min()), float(finite.max())
    if not high > low:
        return np.array([low])
    if not log:
        return np.linspace(low, high, 16)[1:]
    heights: NDArray[Any] = low + np.geomspace((high - low) * 1e-4, high - low, 16)
    return heights


def _trail(
    axes: Axes, x: Sequence[float] | NDArray[Any], y: Any, colour: str = LIGHT["blue"], name: str | None = None
) -> None:
    """Points joined in the order they were visited; the first is hollow, the last is marked."""
    axes.plot(x, y, color=colour, linewidth=1.1, marker="o", markersize=3.4, label=name, zorder=2)
    axes.plot(x[0], y[0], marker="o", markersize=7, markerfacecolor=LIGHT["paper"], markeredgecolor=colour, zorder=3)
    axes.plot(x[-1], y[-1], marker="o", markersize=7, color=LIGHT["orange"], zorder=3)


def _words(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and axis labels, as the caller wrote them: a `$` is a dollar and starts no mathematics."""
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)


def _legend(axes: Axes) -> None:
    for text in axes.legend().get_texts():
        text.set_parse_math(False)


def _finish(figure: Figure, path: PathLike | None) -> Figure:
    if path is not None:
        save_figure(figure, path)
    return figure
