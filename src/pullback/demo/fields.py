"""Part 5: the Jacobian of a vector field over a batch of points, by every road there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pullback as pb
from pullback.demo.part import Part
from pullback.show import vector_field

TITLE = "Vector fields"
Array = NDArray[np.float64]


def field(point: Any) -> Any:
    """(x³ − y², y² + z², z³ − x²), for a point or for a batch of points along the first axes."""
    x, y, z = point[..., 0], point[..., 1], point[..., 2]
    return np.stack([x**3 - y**2, y**2 + z**2, z**3 - x**2], axis=-1)


def jacobian_by_formula(points: Array) -> Array:
    """[..., i, j] is the derivative of component i along coordinate j."""
    x, y, z = np.moveaxis(points, -1, 0)
    o = np.zeros_like(x)
    rows = [[3 * x**2, -2 * y, o], [o, 2 * y, 2 * z], [-2 * x, o, 3 * z**2]]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def jacobian_by_autograd(points: Array) -> Array:
    """One backward pass for each component; points don't depend on one another, so their components may be summed."""
    v = pb.tensor(points, requires_grad=True)
    out = field(v)
    rows = [pb.autograd.grad(out[:, i].sum(), v, retain_graph=True)[0] for i in range(3)]
    result: Array = pb.stack(rows, dim=1).numpy()
    return result


def jacobian_by_products(points: Array) -> Array:
    """One backward pass, batched over the three unit cotangents."""
    v = pb.tensor(points, requires_grad=True)
    out = field(v)

    def row(cotangent: Any) -> Any:
        return pb.autograd.grad(out, v, cotangent.expand(len(points), 3), retain_graph=True)[0]

    result: Array = pb.vmap(row, out_axes=1)(pb.eye(3, dtype=pb.float64)).numpy()
    return result


def jacobian_by_tangents(points: Array) -> Array:
    """Three forward passes, one along each coordinate."""
    columns = [pb.jvp(field, (points,), (np.broadcast_to(e, points.shape).copy(),))[1] for e in np.eye(3)]
    return np.stack(columns, axis=-1)


def run(part: Part) -> None:
    part.say(
        "The Jacobian of F(x, y, z) = (x³ − y², y² + z², z³ − x²) at a batch of points: formula, and five ways to "
        "compute it."
    )
    count = 16 if part.quick else 1000
    points = np.random.default_rng(3).normal(size=(count, 3))
    expected = jacobian_by_formula(points)
    table = part.table(
        f"Jacobians at {count} points, shape ({count}, 3, 3)",
        ["computed by", "how", "J[0] at the first point"],
        note="error: relative to the largest entry of the Jacobians.",
    )
    ways = [
        ("autograd.grad", "a backward pass per component", jacobian_by_autograd),
        ("vmap of autograd.grad", "all cotangents in one pass", jacobian_by_products),
        ("vmap of jacrev", "reverse mode, batched over points", pb.vmap(pb.jacrev(field))),
        ("vmap of jacfwd", "forward mode, batched over points", pb.vmap(pb.jacfwd(field))),
        ("jvp", "a forward pass per coordinate", jacobian_by_tangents),
    ]
    for name, how, way in ways:
        found = np.asarray(way(points))
        first = ", ".join(f"{a:.4g}" for a in found[0, 0])
        part.row(table, name, how, f"({first})", check=part.check(f"Jacobian by {name}", found, expected, 1e-14))
    part.show(table)

    def draw(path: Path) -> None:
        x, y = np.meshgrid(np.linspace(-1.5, 1.5, 17), np.linspace(-1.5, 1.5, 17))
        plane = np.stack([x, y, np.full_like(x, 0.5)], axis=-1)
        arrows = field(plane)
        divergence = np.trace(pb.vmap(pb.jacfwd(field))(plane.reshape(-1, 3)), axis1=1, axis2=2).reshape(x.shape)
        vector_field(
            x, y, arrows[..., 0], arrows[..., 1], divergence, "F in the plane z = ½, and its divergence", path,
            colour_label="divergence, the trace of the Jacobian",
        )  # fmt: skip

    part.picture("5-field.svg", "F in the plane z = ½: arrows (F₁, F₂), and the trace of the Jacobian in colour.", draw)
