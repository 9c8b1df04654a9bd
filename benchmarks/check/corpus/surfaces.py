"""Functions of a few numbers: test surfaces of optimisation, physics, geometry."""

from __future__ import annotations

import numpy as np
from benchmarks.check.plant import (
    entry_off,
    gradient_of,
    normals,
    nothing,
    of_seed,
    piles_up,
    single,
    spoils,
    subject,
    times,
    vjp_of,
)


@subject(normals((6,)))
def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@gradient_of(
    rosenbrock,
    ("missing_term", "    d[:-1] -= 2 * (1 - x[:-1])\n", ""),
    ("missing_term", "    d[1:] += 200 * r\n", ""),
    ("overwrite", "d[:-1] -= 400 * x[:-1] * r", "d[:-1] = -400 * x[:-1] * r"),
    ("index", "d[1:] += 200 * r", "d[:-1] += 200 * r"),
    ("sign", "    return d", "    return -d"),
    ("wrong_formula", "400 * x[:-1] * r", "400 * r"),
    entry_off(1.002, 3),
    piles_up(),
)
def rosenbrock_grad(x):
    d = np.zeros_like(x)
    r = x[1:] - x[:-1] ** 2
    d[1:] += 200 * r
    d[:-1] -= 400 * x[:-1] * r
    d[:-1] -= 2 * (1 - x[:-1])
    return d


@subject(normals((), ()))
def himmelblau(x, y):
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


@gradient_of(
    himmelblau,
    ("swapped_args", "return dx, dy", "return dy, dx"),
    ("missing_term", "4 * x * a + 2 * b", "4 * x * a"),
    ("missing_term", "2 * a + 4 * y * b", "4 * y * b"),
    ("wrong_formula", "4 * x * a", "2 * x * a"),
    ("sign", "return dx, dy", "return dx, -dy"),
    ("zero", "return dx, dy", "return dx, 0.0"),
    times(0.998),
)
def himmelblau_grad(x, y):
    a, b = x**2 + y - 11, x + y**2 - 7
    dx = 4 * x * a + 2 * b
    dy = 2 * a + 4 * y * b
    return dx, dy


@subject(normals((), ()))
def beale(x, y):
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


@gradient_of(
    beale,
    (
        "sign",
        "2 * a * (y - 1) + 2 * b * (y**2 - 1) + 2 * c * (y**3 - 1)",
        "2 * a * (1 - y) + 2 * b * (1 - y**2) + 2 * c * (1 - y**3)",
    ),
    ("missing_term", " + 2 * c * 3 * x * y**2", ""),
    ("wrong_formula", "2 * c * 3 * x * y**2", "2 * c * x * y**3"),
    ("swapped_args", "return dx, dy", "return dy, dx"),
    ("factor", "return dx, dy", "return dx / 2, dy / 2"),
)
def beale_grad(x, y):
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    dx = 2 * a * (y - 1) + 2 * b * (y**2 - 1) + 2 * c * (y**3 - 1)
    dy = 2 * a * x + 2 * b * 2 * x * y + 2 * c * 3 * x * y**2
    return dx, dy


@subject(normals((5,)))
def rastrigin(x):
    return 10 * len(x) + np.sum(x**2 - 10 * np.cos(2 * np.pi * x))


@gradient_of(
    rastrigin,
    ("wrong_formula", "np.sin(2 * np.pi * x)", "np.cos(2 * np.pi * x)"),
    ("wrong_formula", "20 * np.pi * np.sin", "10 * np.sin"),
    ("missing_term", "2 * x + ", ""),
    ("sign", "return 2 * x + 20", "return -2 * x - 20"),
    ("wrong_formula", "20 * np.pi", "62.5"),
    spoils(0),
)
def rastrigin_grad(x):
    return 2 * x + 20 * np.pi * np.sin(2 * np.pi * x)


@subject(normals((6,)))
def ackley(x):
    n = len(x)
    r = np.sqrt(np.sum(x**2) / n)
    c = np.sum(np.cos(2 * np.pi * x)) / n
    return -20 * np.exp(-0.2 * r) - np.exp(c)


@gradient_of(
    ackley,
    ("missing_term", " + 2 * np.pi / n * np.exp(c) * np.sin(2 * np.pi * x)", ""),
    ("wrong_formula", "np.exp(-0.2 * r) * x", "np.exp(-r) * x"),
    ("wrong_formula", "* x / (n * r)", "* x / n"),
    ("wrong_formula", "np.sin(2 * np.pi * x)", "np.cos(2 * np.pi * x)"),
    ("wrong_formula", "4 * np.exp", "20 * np.exp"),
    nothing(),
)
def ackley_grad(x):
    n = len(x)
    r = np.sqrt(np.sum(x**2) / n)
    c = np.sum(np.cos(2 * np.pi * x)) / n
    return 4 * np.exp(-0.2 * r) * x / (n * r) + 2 * np.pi / n * np.exp(c) * np.sin(2 * np.pi * x)


@subject(normals((3,), (3,)))
def cosine_similarity(u, v):
    return u @ v / (np.linalg.norm(u) * np.linalg.norm(v))


@gradient_of(
    cosine_similarity,
    ("missing_term", "(v - c * nv / nu * u)", "v"),
    ("missing_term", "(u - c * nu / nv * v)", "u"),
    ("swapped_args", "return du, dv", "return dv, du"),
    ("sign", "return du, dv", "return -du, -dv"),
    ("wrong_formula", "(u - c * nu / nv * v) / (nu * nv)", "(u - c * nu / nv * v)"),
    single(),
)
def cosine_similarity_grad(u, v):
    nu, nv = np.linalg.norm(u), np.linalg.norm(v)
    c = u @ v / (nu * nv)
    du = (v - c * nv / nu * u) / (nu * nv)
    dv = (u - c * nu / nv * v) / (nu * nv)
    return du, dv


@subject(normals((7, 3)))
def lennard_jones(x):
    energy = 0.0
    for i in range(len(x)):
        for j in range(i):
            s = 1.0 + np.sum((x[i] - x[j]) ** 2)
            energy = energy + s**-6 - s**-3
    return energy


@gradient_of(
    lennard_jones,
    ("overwrite", "d[i] += w", "d[i] = w"),
    ("missing_term", "            d[j] -= w\n", ""),
    ("sign", "d[j] -= w", "d[j] += w", "d[i] += w", "d[i] -= w"),
    ("wrong_formula", "-6 * s**-7", "-6 * s**-6"),
    ("missing_term", "-6 * s**-7 + 3 * s**-4", "-6 * s**-7"),
    ("factor", "2 * (x[i] - x[j])", "(x[i] - x[j])"),
    ("index", "d[j] -= w", "d[j - 1] -= w"),
)
def lennard_jones_grad(x):
    d = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(i):
            s = 1.0 + np.sum((x[i] - x[j]) ** 2)
            w = (-6 * s**-7 + 3 * s**-4) * 2 * (x[i] - x[j])
            d[i] += w
            d[j] -= w
    return d


@subject(of_seed(lambda a, b, c: (0.3 * a, 0.3 * b, 0.3 * c, 0.2), (), (), ()))
def haversine(lat1, lat2, dlon, offset):
    a = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin(dlon / 2 + offset) ** 2
    return 2 * np.arcsin(np.sqrt(a))


@gradient_of(
    haversine,
    ("sign", "return d1 * da, d2 * da, d3 * da", "return -d1 * da, d2 * da, d3 * da"),
    ("swapped_args", "return d1 * da, d2 * da, d3 * da", "return d2 * da, d1 * da, d3 * da"),
    ("missing_term", "-0.5 * np.sin(lat2 - lat1) - np.sin(lat1)", "-np.sin(lat1)"),
    ("wrong_formula", "da = 1 / np.sqrt(a * (1 - a))", "da = 1 / np.sqrt(a)"),
    ("wrong_formula", "np.sin(dlon / 2 + offset) * np.cos(dlon / 2 + offset)", "np.sin(dlon / 2 + offset)"),
    ("zero", "return d1 * da, d2 * da, d3 * da", "return d1 * da, d2 * da, 0.0"),
)
def haversine_grad(lat1, lat2, dlon, offset):
    s = np.sin(dlon / 2 + offset) ** 2
    a = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * s
    d1 = -0.5 * np.sin(lat2 - lat1) - np.sin(lat1) * np.cos(lat2) * s
    d2 = 0.5 * np.sin(lat2 - lat1) - np.cos(lat1) * np.sin(lat2) * s
    d3 = np.cos(lat1) * np.cos(lat2) * np.sin(dlon / 2 + offset) * np.cos(dlon / 2 + offset)
    da = 1 / np.sqrt(a * (1 - a))
    return d1 * da, d2 * da, d3 * da


@subject(normals((), (), ()))
def polar_to_cartesian(r, theta, phi):
    return np.array([r * np.sin(theta) * np.cos(phi), r * np.sin(theta) * np.sin(phi), r * np.cos(theta)])


@vjp_of(
    polar_to_cartesian,
    ("wrong_formula", "- g[2] * r * st", "- g[2] * r * ct"),
    ("sign", "dphi = -g[0] * r * st * sp + g[1] * r * st * cp", "dphi = g[0] * r * st * sp - g[1] * r * st * cp"),
    ("missing_term", " + g[2] * ct", ""),
    ("swapped_args", "return dr, dtheta, dphi", "return dr, dphi, dtheta"),
    ("index", "dphi = -g[0] * r * st * sp + g[1]", "dphi = -g[1] * r * st * sp + g[0]"),
    ("ignore_upstream", "    st, ct =", "    g = np.ones(3)\n    st, ct ="),
)
def polar_to_cartesian_vjp(g, r, theta, phi):
    st, ct = np.sin(theta), np.cos(theta)
    sp, cp = np.sin(phi), np.cos(phi)
    dr = g[0] * st * cp + g[1] * st * sp + g[2] * ct
    dtheta = g[0] * r * ct * cp + g[1] * r * ct * sp - g[2] * r * st
    dphi = -g[0] * r * st * sp + g[1] * r * st * cp
    return dr, dtheta, dphi


@subject(of_seed(lambda x: (np.abs(x) + 0.5,), (5,)))
def log_barrier(x):
    return np.sum(x**2) - 0.5 * np.sum(np.log(x)) + 1 / np.prod(x)


@gradient_of(
    log_barrier,
    ("sign", "- 0.5 / x", "+ 0.5 / x", "2 * x", "-2 * x", "- 1 / (np.prod(x) * x)", "+ 1 / (np.prod(x) * x)"),
    ("missing_term", " - 0.5 / x", ""),
    ("wrong_formula", "(np.prod(x) * x)", "np.prod(x) ** 2"),
    ("missing_term", " - 1 / (np.prod(x) * x)", ""),
    entry_off(0.0, 4),
    times(1.004),
)
def log_barrier_grad(x):
    return 2 * x - 0.5 / x - 1 / (np.prod(x) * x)


@subject(normals((), ()))
def pendulum_energy(theta, omega):
    return 0.5 * omega**2 + 9.81 * (1 - np.cos(theta))


@gradient_of(
    pendulum_energy,
    ("wrong_formula", "np.sin(theta)", "theta"),
    ("wrong_formula", "np.sin(theta)", "np.cos(theta)"),
    ("swapped_args", "return 9.81 * np.sin(theta), omega", "return omega, 9.81 * np.sin(theta)"),
    ("wrong_formula", "9.81", "9.8"),
    ("zero", "return 9.81 * np.sin(theta), omega", "return 9.81 * np.sin(theta), 0 * omega"),
    ("sign", "return 9.81", "return -9.81"),
    ("factor", "return 9.81 * np.sin(theta), omega", "return 9.81 * np.sin(theta), 2 * omega"),
)
def pendulum_energy_grad(theta, omega):
    return 9.81 * np.sin(theta), omega
