"""Data for training: the two tables that come with pullback."""

from pullback.data.datasets import Table, auto_mpg, pima_diabetes

__all__ = ["Table", "auto_mpg", "pima_diabetes"]
