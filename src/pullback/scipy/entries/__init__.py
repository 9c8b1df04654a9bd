"""What the table of SciPy functions holds, by SciPy's modules. Importing this makes the entries."""

from pullback.scipy.entries import (
    fft,
    integrate,
    interpolate,
    linalg,
    multivariate,
    ode,
    optimize,
    signal,
    special,
    stats,
)
