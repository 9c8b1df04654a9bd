"""Two small real tables, read from CSV files inside the package (origin and licence: `csv/README.md`)."""

import csv
from collections.abc import Container, Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Table", "auto_mpg", "pima_diabetes"]


@dataclass(frozen=True)
class Table:
    """Named columns of equal length.

    `columns` maps each name to an array of shape `(rows,)`: float64, NaN where a value is missing, or `str` for text.
    `source` and `licence` say where the data come from and on what terms.

    >>> table = auto_mpg()
    >>> len(table), table["mpg"].dtype, table["name"][0]
    (398, dtype('float64'), np.str_('chevrolet chevelle malibu'))
    >>> table.matrix("weight", "model_year").shape
    (398, 2)
    """

    columns: Mapping[str, NDArray[Any]]
    source: str
    licence: str

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in the order of the file."""
        return tuple(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            return self.columns[name]
        except KeyError:
            raise KeyError(f"no column {name!r}; the columns are {', '.join(self.columns)}") from None

    def matrix(self, *names: str) -> NDArray[np.float64]:
        """The named columns side by side, float64 of shape `(rows, len(names))`.

        Raises KeyError for a name that is no column, ValueError for a column of text.
        """
        return np.stack([self[name].astype(np.float64) for name in names], axis=1)


def auto_mpg() -> Table:
    """Fuel consumption of 398 cars of 1970 to 1982 (UCI "Auto MPG"), 9 columns.

    Six values of `horsepower` are missing (NaN); `name` is text; `origin` is 1 for USA, 2 for Europe, 3 for Japan.

    >>> table = auto_mpg()
    >>> table.names[:4]
    ('mpg', 'cylinders', 'displacement', 'horsepower')
    >>> float(table["mpg"].mean().round(6)), int(np.isnan(table["horsepower"]).sum())
    (23.514573, 6)
    """
    return _read(
        "auto_mpg.csv",
        text=("name",),
        source="Donoho and Ramos (1982), ASA Data Exposition 1983, StatLib; selection of Quinlan (1993), UCI Auto MPG",
        licence="CC0-1.0 (392 rows) and MIT (6 rows, © 2018 Jake Vanderplas)",
    )


def pima_diabetes() -> Table:
    """Eight measurements of 768 Pima women and whether diabetes was found (`outcome`, 1 or 0), 9 columns.

    The zeros in `glucose`, `blood_pressure`, `skin_thickness`, `insulin` and `bmi` are values that were not taken.

    >>> table = pima_diabetes()
    >>> len(table), int(table["outcome"].sum())
    (768, 268)
    """
    return _read(
        "pima_diabetes.csv",
        source="National Institute of Diabetes and Digestive and Kidney Diseases (1990), given to UCI by V. Sigillito",
        licence="CC0-1.0",
    )


def _read(file: str, *, source: str, licence: str, text: Container[str] = ()) -> Table:
    content = (files(__package__) / "csv" / file).read_text(encoding="utf-8")
    names, *rows = csv.reader(content.splitlines())
    columns: dict[str, NDArray[Any]] = {
        name: np.array(cells) if name in text else np.array([float(cell or "nan") for cell in cells])
        for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    }
    return Table(MappingProxyType(columns), source, licence)
