"""Log-likelihoods and divergences."""

from __future__ import annotations

import numpy as np
from benchmarks.check.plant import (
    entry_off,
    gradient_of,
    normals,
    of_seed,
    piles_up,
    single,
    subject,
    times,
)


@subject(normals((), (), (15,)))
def gaussian_loglik(mu, logsigma, y):
    z = (y - mu) / np.exp(logsigma)
    return np.sum(-0.5 * z**2 - logsigma - 0.5 * np.log(2 * np.pi))


@gradient_of(
    gaussian_loglik,
    ("missing_term", "z**2 - 1", "z**2"),
    ("sum_for_mean", "np.sum(z**2 - 1)", "np.mean(z**2 - 1)"),
    ("sign", "return dmu, dlogsigma", "return -dmu, -dlogsigma"),
    ("wrong_formula", "np.sum(z) / sigma", "np.sum(z) / sigma**2"),
    ("wrong_point", "np.sum(z) / sigma", "np.sum(z) / logsigma"),
    ("swapped_args", "return dmu, dlogsigma", "return dlogsigma, dmu"),
    ("wrong_formula", "z**2 - 1", "z - 1"),
    times(1.005, which=1),
)
def gaussian_loglik_grad(mu, logsigma, y):
    sigma = np.exp(logsigma)
    z = (y - mu) / sigma
    dmu = np.sum(z) / sigma
    dlogsigma = np.sum(z**2 - 1)
    return dmu, dlogsigma


@subject(normals((4,), (4, 4), (4,)))
def multivariate_normal(mu, A, y):
    S = A @ A.T + np.eye(4)
    r = y - mu
    return -0.5 * r @ np.linalg.solve(S, r) - 0.5 * np.linalg.slogdet(S)[1]


@gradient_of(
    multivariate_normal,
    ("missing_term", " - 0.5 * np.linalg.inv(S)", ""),
    (
        "sign",
        "dS = 0.5 * np.outer(a, a) - 0.5 * np.linalg.inv(S)",
        "dS = 0.5 * np.linalg.inv(S) - 0.5 * np.outer(a, a)",
    ),
    ("factor", "dA = 2 * dS @ A", "dA = dS @ A"),
    ("transpose", "dA = 2 * dS @ A", "dA = 2 * (dS @ A).T"),
    ("wrong_formula", "a = np.linalg.solve(S, r)", "a = S @ r"),
    ("zero", "return a, dA", "return a, None"),
    entry_off(0.7, 2),
    piles_up(),
)
def multivariate_normal_grad(mu, A, y):
    S = A @ A.T + np.eye(4)
    r = y - mu
    a = np.linalg.solve(S, r)
    dS = 0.5 * np.outer(a, a) - 0.5 * np.linalg.inv(S)
    dA = 2 * dS @ A
    return a, dA


@subject(normals((5,), (5,), (5,), (5,)))
def kl_of_gaussians(m1, s1, m2, s2):
    return np.sum(s2 - s1 + 0.5 * (np.exp(2 * s1) + (m1 - m2) ** 2) * np.exp(-2 * s2) - 0.5)


@gradient_of(
    kl_of_gaussians,
    ("swapped_args", "return dm1, ds1, dm2, ds2", "return dm1, ds2, dm2, ds1"),
    ("swapped_args", "return dm1, ds1, dm2, ds2", "return dm2, ds1, dm1, ds2"),
    ("sign", "dm2 = -dm1", "dm2 = 1 * dm1"),
    ("missing_term", "ds1 = np.exp(2 * s1 - 2 * s2) - 1", "ds1 = np.exp(2 * s1 - 2 * s2)"),
    ("missing_term", "(np.exp(2 * s1) + (m1 - m2) ** 2)", "np.exp(2 * s1)"),
    ("wrong_formula", "dm1 = (m1 - m2) * np.exp(-2 * s2)", "dm1 = (m1 - m2) * np.exp(-s2)"),
    ("factor", "return dm1, ds1, dm2, ds2", "return dm1, ds1 / 2, dm2, ds2"),
)
def kl_of_gaussians_grad(m1, s1, m2, s2):
    dm1 = (m1 - m2) * np.exp(-2 * s2)
    dm2 = -dm1
    ds1 = np.exp(2 * s1 - 2 * s2) - 1
    ds2 = 1 - (np.exp(2 * s1) + (m1 - m2) ** 2) * np.exp(-2 * s2)
    return dm1, ds1, dm2, ds2


@subject(normals((3,), (3,), (20,)))
def mixture(logits, means, y):
    logw = logits - np.log(np.sum(np.exp(logits)))
    lp = logw - 0.5 * (y[:, None] - means) ** 2
    m = lp.max(axis=1)
    return -np.mean(m + np.log(np.sum(np.exp(lp - m[:, None]), axis=1)))


@gradient_of(
    mixture,
    ("axis", "e / e.sum(axis=1, keepdims=True)", "e / e.sum(axis=0, keepdims=True)"),
    ("missing_term", "w - resp.mean(axis=0)", "-resp.mean(axis=0)"),
    ("sum_for_mean", "w - resp.mean(axis=0)", "w - resp.sum(axis=0)"),
    ("sign", "dmeans = -np", "dmeans = np"),
    ("one_over_n", "return dlogits, dmeans", "return len(y) * dlogits, len(y) * dmeans"),
    ("wrong_formula", "resp * (y[:, None] - means)", "resp * (y[:, None] - means) ** 2"),
    ("index", "return dlogits, dmeans", "return dlogits, dmeans[::-1]"),
    times(0.9925),
)
def mixture_grad(logits, means, y):
    w = np.exp(logits) / np.sum(np.exp(logits))
    e = w * np.exp(-0.5 * (y[:, None] - means) ** 2)
    resp = e / e.sum(axis=1, keepdims=True)
    dlogits = w - resp.mean(axis=0)
    dmeans = -np.mean(resp * (y[:, None] - means), axis=0)
    return dlogits, dmeans


@subject(of_seed(lambda a, b, y, c: (a, b, np.abs(y) + 0.1, (c > 0).astype(float)), (), (), (12,), (12,)))
def weibull_survival(a, b, t, event):
    k, scale = np.exp(a), np.exp(b)
    return np.sum(event * (a - b + (k - 1) * (np.log(t) - b)) - (t / scale) ** k)


@gradient_of(
    weibull_survival,
    ("missing_term", "event * (1 + k * (np.log(t) - b))", "event * k * (np.log(t) - b)"),
    ("missing_term", " - H * k * (np.log(t) - b)", ""),
    ("sign", "db = np.sum(-event * k + H * k)", "db = np.sum(event * k - H * k)"),
    ("wrong_formula", "np.sum(-event * k + H * k)", "np.sum(-event + H)"),
    ("one_over_n", "return da, db", "return da / len(t), db / len(t)"),
    ("wrong_point", "np.log(t) - b)) - H", "np.log(t) - np.exp(b))) - H"),
    single(),
)
def weibull_survival_grad(a, b, t, event):
    k, scale = np.exp(a), np.exp(b)
    H = (t / scale) ** k
    da = np.sum(event * (1 + k * (np.log(t) - b)) - H * k * (np.log(t) - b))
    db = np.sum(-event * k + H * k)
    return da, db


@subject(normals((), (), (18,)))
def student_t(mu, logs, y):
    z = (y - mu) * np.exp(-logs)
    return np.mean(2.5 * np.log1p(z**2 / 4) + logs)


@gradient_of(
    student_t,
    ("missing_term", "1 - np.mean(w * z)", "-np.mean(w * z)"),
    ("sum_for_mean", "1 - np.mean(w * z)", "1 - np.sum(w * z)"),
    ("wrong_formula", "(4 + z**2)", "(4 + z)"),
    ("sign", "return dmu, dlogs", "return -dmu, dlogs"),
    ("zero", "return dmu, dlogs", "return dmu, 0.0"),
    ("wrong_formula", "5 * z", "4.98 * z"),
    ("factor", "return dmu, dlogs", "return 2 * dmu, 2 * dlogs"),
)
def student_t_grad(mu, logs, y):
    z = (y - mu) * np.exp(-logs)
    w = 5 * z / (4 + z**2)
    dmu = -np.mean(w) * np.exp(-logs)
    dlogs = 1 - np.mean(w * z)
    return dmu, dlogs


@subject(normals((), (), (10,)))
def kalman_filter(logq, logr, y):
    q, r = np.exp(logq), np.exp(logr)
    m, p, loss = 0.0, 1.0, 0.0
    for value in y:
        p = p + q
        s = p + r
        e = value - m
        loss = loss + 0.5 * (np.log(s) + e**2 / s)
        k = p / s
        m = m + k * e
        p = (1 - k) * p
    return loss


@gradient_of(
    kalman_filter,
    (
        "missing_term",
        "        ds = 0.5 * (1 / s - e**2 / s**2) - dk * p / s**2\n",
        "        ds = 0.5 * (1 / s - e**2 / s**2)\n",
    ),
    ("missing_term", "de = e / s + dm * k", "de = e / s"),
    ("overwrite", "dq += dp", "dq = dp"),
    ("overwrite", "dr += ds", "dr = ds"),
    ("sign", "return dq * q, dr * r", "return -dq * q, dr * r"),
    ("wrong_formula", "return dq * q, dr * r", "return dq, dr"),
    ("swapped_args", "return dq * q, dr * r", "return dr * r, dq * q"),
)
def kalman_filter_grad(logq, logr, y):
    q, r = np.exp(logq), np.exp(logr)
    m, p, tape = 0.0, 1.0, []
    for value in y:
        p = p + q
        s = p + r
        e = value - m
        k = p / s
        tape.append((p, s, e, k))
        m = m + k * e
        p = (1 - k) * p
    dm = dp = dq = dr = 0.0
    for p, s, e, k in reversed(tape):
        dk = dm * e - dp * p
        dpred = dp * (1 - k) + dk / s
        ds = 0.5 * (1 / s - e**2 / s**2) - dk * p / s**2
        de = e / s + dm * k
        dm = dm - de
        dp = dpred + ds
        dr += ds
        dq += dp
    return dq * q, dr * r
