"""Functions of complex numbers. The gradient of a real L is dL/d(re z) + i dL/d(im z)."""

from __future__ import annotations

import numpy as np
from benchmarks.check.plant import (
    entry_off,
    gradient_of,
    ignores_upstream,
    normals,
    nothing,
    single,
    subject,
    times,
    vjp_of,
)


def complex_normals(*shapes):
    return lambda rng: tuple(rng.standard_normal(shape) + 1j * rng.standard_normal(shape) for shape in shapes)


@subject(complex_normals((5,)))
def energy(z):
    return np.sum(np.abs(z) ** 2)


@gradient_of(
    energy,
    ("conj", "2 * z", "2 * np.conj(z)"),
    ("factor", "2 * z", "z"),
    ("sign", "2 * z", "-2 * z"),
    ("wrong_formula", "2 * z", "2 * np.abs(z) + 0j"),
    nothing(),
)
def energy_grad(z):
    return 2 * z


@subject(complex_normals((4,)))
def complex_square(z):
    return z**2 + 1j * z


@vjp_of(
    complex_square,
    ("conj", "np.conj(2 * z + 1j)", "(2 * z + 1j)"),
    ("conj", "g * np", "np.conj(g) * np"),
    ("missing_term", "2 * z + 1j", "2 * z"),
    ("factor", "return g", "return 2 * g"),
    ignores_upstream(),
)
def complex_square_vjp(g, z):
    return g * np.conj(2 * z + 1j)


@subject(complex_normals((5,), (5,)))
def overlap(u, v):
    return np.abs(np.vdot(u, v)) ** 2


@gradient_of(
    overlap,
    ("conj", "2 * np.conj(c) * v", "2 * c * v"),
    ("conj", "2 * c * u", "2 * np.conj(c) * u"),
    ("swapped_args", "return du, dv", "return dv, du"),
    ("factor", "return du, dv", "return du / 2, dv / 2"),
    ("sign", "return du, dv", "return -du, -dv"),
)
def overlap_grad(u, v):
    c = np.vdot(u, v)
    du = 2 * np.conj(c) * v
    dv = 2 * c * u
    return du, dv


@subject(normals((8,), (8,)))
def power_spectrum(x, w):
    return np.sum(w * np.abs(np.fft.fft(x)) ** 2)


@gradient_of(
    power_spectrum,
    ("one_over_n", "2 * len(x) * np.fft.ifft(w * F).real", "2 * np.fft.ifft(w * F).real"),
    ("conj", "np.fft.ifft(w * F)", "np.fft.ifft(w * np.conj(F))"),
    ("factor", "2 * len(x) *", "len(x) *"),
    ("wrong_formula", "np.abs(F) ** 2", "np.abs(F)"),
    ("zero", "return dx, dw", "return dx, np.zeros(8)"),
    ("index", "return dx, dw", "return dx[::-1], dw"),
)
def power_spectrum_grad(x, w):
    F = np.fft.fft(x)
    dx = 2 * len(x) * np.fft.ifft(w * F).real
    dw = np.abs(F) ** 2
    return dx, dw


@subject(complex_normals((3, 3), (3,)))
def complex_product(A, x):
    return A @ x


@vjp_of(
    complex_product,
    ("conj", "np.outer(g, np.conj(x))", "np.outer(g, x)"),
    ("conj", "np.conj(A).T @ g", "A.T @ g"),
    ("transpose", "np.conj(A).T @ g", "np.conj(A) @ g"),
    ("transpose", "np.outer(g, np.conj(x))", "np.outer(np.conj(x), g)"),
    ignores_upstream(),
    single(),
)
def complex_product_vjp(g, A, x):
    return np.outer(g, np.conj(x)), np.conj(A).T @ g


@subject(complex_normals((6,)))
def damped_wave(z):
    return np.sum(np.real(np.exp(1j * z)) * np.imag(z))


@gradient_of(
    damped_wave,
    ("conj", "np.conj(1j * e)", "1j * e"),
    ("missing_term", " + 1j * e.real", ""),
    ("sign", "return d", "return -d"),
    ("wrong_formula", " + 1j * e.real", " + e.real"),
    ("wrong_formula", "np.conj(1j * e)", "np.conj(e)"),
    times(1.006),
    entry_off(0.5, 2),
)
def damped_wave_grad(z):
    e = np.exp(1j * z)
    d = np.imag(z) * np.conj(1j * e) + 1j * e.real
    return d
