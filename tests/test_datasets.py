"""The shipped tables hold the known facts about them."""

import csv
import dataclasses
import doctest
from collections.abc import Callable
from importlib.resources import files

import numpy as np
import pytest

from pullback.data import Table, auto_mpg, datasets, pima_diabetes

AUTO_MPG = "mpg cylinders displacement horsepower weight acceleration model_year origin name"
PIMA = "pregnancies glucose blood_pressure skin_thickness insulin bmi diabetes_pedigree age outcome"


@pytest.fixture(scope="module")
def cars() -> Table:
    return auto_mpg()


@pytest.fixture(scope="module")
def pima() -> Table:
    return pima_diabetes()


def test_auto_mpg_has_the_known_rows(cars: Table) -> None:
    assert cars.names == tuple(AUTO_MPG.split())
    assert len(cars) == 398
    assert cars["mpg"].mean() == pytest.approx(23.514573, abs=5e-7)
    assert np.flatnonzero(np.isnan(cars["horsepower"])).tolist() == [32, 126, 330, 336, 354, 374]
    assert np.nanmean(cars["horsepower"]) == pytest.approx(104.469388, abs=5e-7)
    assert cars["weight"].mean() == pytest.approx(2970.424623, abs=5e-7)
    years, counts = np.unique(cars["model_year"], return_counts=True)
    assert years.tolist() == list(range(70, 83))
    assert counts.tolist() == [29, 28, 28, 40, 27, 30, 34, 28, 36, 29, 29, 29, 31]
    assert np.unique(cars["origin"], return_counts=True)[1].tolist() == [249, 70, 79]
    assert cars["name"][[0, -1]].tolist() == ["chevrolet chevelle malibu", "chevy s-10"]


def test_auto_mpg_least_squares_on_weight(cars: Table) -> None:
    slope, intercept = np.polyfit(cars["weight"], cars["mpg"], 1)
    assert (slope, intercept) == (pytest.approx(-0.00767661, abs=5e-9), pytest.approx(46.3173644, abs=5e-7))


def test_pima_has_the_known_rows(pima: Table) -> None:
    assert pima.names == tuple(PIMA.split())
    assert len(pima) == 768
    assert np.unique(pima["outcome"], return_counts=True)[1].tolist() == [500, 268]
    assert pima["glucose"].mean() == pytest.approx(120.894531, abs=5e-7)
    assert pima["bmi"].mean() == pytest.approx(31.992578, abs=5e-7)
    zeros = {name: int((pima[name] == 0).sum()) for name in pima.names[1:6]}
    assert zeros == {"glucose": 5, "blood_pressure": 35, "skin_thickness": 227, "insulin": 374, "bmi": 11}
    assert pima.matrix(*pima.names)[0].tolist() == [6, 148, 72, 35, 0, 33.6, 0.627, 50, 1]


@pytest.mark.parametrize("load", [auto_mpg, pima_diabetes])
def test_a_table_is_typed_and_says_where_it_is_from(load: Callable[[], Table]) -> None:
    table = load()
    for name, column in table.columns.items():
        assert column.shape == (len(table),)
        assert column.dtype.kind == ("U" if name == "name" else "f")
    assert table.source
    assert table.licence
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.source = "elsewhere"  # type: ignore[misc]
    with pytest.raises(TypeError):
        table.columns["extra"] = np.zeros(len(table))  # type: ignore[index]


def test_each_load_is_a_fresh_copy() -> None:
    auto_mpg()["mpg"][:] = 0
    assert auto_mpg()["mpg"].all()


def test_errors_name_the_column(cars: Table) -> None:
    with pytest.raises(KeyError, match="no column 'Weight'; the columns are mpg, cylinders"):
        cars["Weight"]
    with pytest.raises(ValueError, match="could not convert string to float"):
        cars.matrix("mpg", "name")


def test_every_file_is_documented_and_rectangular() -> None:
    folder = files("pullback.data") / "csv"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    shipped = [entry for entry in folder.iterdir() if entry.name.endswith(".csv")]
    assert sorted(entry.name for entry in shipped) == ["auto_mpg.csv", "pima_diabetes.csv"]
    for entry in shipped:
        header, *rows = csv.reader(entry.read_text(encoding="utf-8").splitlines())
        assert f"| `{entry.name}` | {len(rows)} × {len(header)} |" in readme
        assert {len(row) for row in rows} == {len(header)}
        assert all(f"`{name}`" in readme for name in header)


def test_the_doctests_run() -> None:
    result = doctest.testmod(datasets)
    assert result.attempted
    assert not result.failed
