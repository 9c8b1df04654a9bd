"""The real tables, as the models of the demo take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pullback.data import auto_mpg, pima_diabetes

__all__ = ["CAR_FEATURES", "PATIENT_FEATURES", "cars", "patients", "standardise"]

Array = NDArray[np.float64]
CAR_FEATURES = ("cylinders", "displacement", "horsepower", "weight", "acceleration", "model_year")
PATIENT_FEATURES = (
    "pregnancies", "glucose", "blood_pressure", "skin_thickness", "insulin", "bmi", "diabetes_pedigree", "age",
)  # fmt: skip


def standardise(features: Array) -> Array:
    """Columns of mean 0 and standard deviation 1."""
    result: Array = (features - features.mean(0)) / features.std(0)
    return result


def cars(*names: str) -> tuple[Array, Array]:
    """Auto-MPG: the named features, standardised, and miles per gallon, of the 392 complete rows."""
    table = auto_mpg()
    features = table.matrix(*(names or CAR_FEATURES), "horsepower", "mpg")
    complete = features[~np.isnan(features[:, -2])]
    return standardise(complete[:, :-2]), complete[:, -1]


def patients() -> tuple[Array, Array]:
    """Pima: all eight measurements, standardised, and the outcome (1 or 0), of all 768 rows as the file has them."""
    table = pima_diabetes()
    return standardise(table.matrix(*PATIENT_FEATURES)), table["outcome"]
