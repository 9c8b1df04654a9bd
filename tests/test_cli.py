"""The command `pullback`: what it prints, and its exit codes."""

from __future__ import annotations

import builtins
import json
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.check.parallel import mapped
from pullback.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"
RIGHT = "def f(x): return x**3\ndef df(x): return 3 * x**2\n"
WRONG = "def g(x):\n    return x**3\ndef dg(x):\n    return 2 * x**2\n"
NOISY = "import random\ndef h(x): return x + random.random()\ndef dh(x): return 1.0\n"
UNUSABLE = "def u(c): return c.a\ndef du(c): return 1.0\n"


@pytest.fixture
def write(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Writes a file with a name of its own; gives its path."""

    def make(text: str, name: str = "") -> str:
        path = tmp_path / (name or f"cli_{abs(hash((request.node.name, text)))}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        return str(path)

    return make


# The examples


def test_the_right_example_is_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(EXAMPLES / "logistic.py"), "--seed", "0"]) == 0
    out = capsys.readouterr().out
    assert out.count("confirmed") == 2
    assert "logistic.py::loss" in out
    assert "REFUTED" not in out


def test_the_wrong_example_is_refuted_and_its_line_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(EXAMPLES / "network.py"), "--seed", "0"]) == 1
    out = capsys.readouterr().out
    assert "gradient of Network: REFUTED" in out
    assert "wrong_point" in out
    number = 1 + (EXAMPLES / "network.py").read_text().splitlines().index("        dz = dh * (1 - self.z**2)")
    assert re.search(rf"> +{number} +dz = dh \* \(1 - self\.z\*\*2\) .*disagrees", out)
    assert "> " in out
    assert re.search(r"W1\[\d, \d\] is claimed", out)


def test_as_a_process() -> None:
    command = [sys.executable, "-m", "pullback.cli", "check", str(EXAMPLES), "--json", "--seed", "1", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert {r["name"]: r["verdict"] for r in found["results"]} == {
        "sigmoid": "confirmed",
        "loss": "confirmed",
        "Network": "refuted",
    }
    assert "%|" not in done.stderr  # no bar where there is no terminal


# Exit codes


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ([RIGHT], 0),
        ([WRONG], 1),
        ([NOISY], 2),
        ([UNUSABLE], 2),
        ([RIGHT, UNUSABLE], 2),
        ([RIGHT, UNUSABLE, WRONG], 1),
        (["x = 1"], 2),
        (["raise ValueError('at import')", WRONG], 1),
    ],
)
def test_exit_codes(texts: list[str], code: int, write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *map(write, texts), "--seed", "0"]) == code


def test_a_file_that_raises_is_told_by_its_line(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("import math\n\nx = math.sqrt(-1)\n")
    assert main(["check", path]) == 2
    captured = capsys.readouterr()
    assert f"{path}:3: ValueError: " in captured.err
    assert "x = math.sqrt(-1)" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("def f(:\n", "", ":1: SyntaxError: "),
        ("import sys\nsys.exit(3)", "", ":2: SystemExit: 3"),
        ("", "a.txt", "neither a Python file nor a notebook"),
        ("{}", "a.ipynb", "a.ipynb is no notebook"),
    ],
)
def test_files_that_cannot_be_run(
    text: str, name: str, message: str, write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", write(text, name)]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_file_and_a_missing_name(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "no/such/file.py"]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert main(["check", write(RIGHT + WRONG) + "::k"]) == 2
    assert "there is no gradient of k" in (err := capsys.readouterr().err)
    assert "that of f, g" in err


def test_options_that_make_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["check", "a.py", "--jobs", "0"], ["check", "a.py", "--seed", "-1"], ["check"], []):
        with pytest.raises(SystemExit) as raised:
            main(arguments)
        assert raised.value.code == 2


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (["--version"], f"pullback {pb.__version__}"),
        (["check", "--help"], "is run, as an import"),
    ):
        with pytest.raises(SystemExit) as raised:
            main(arguments)
        assert raised.value.code == 0
        assert expected in capsys.readouterr().out


# What is checked, and how it is shown


def test_a_name_chooses(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(RIGHT + WRONG)
    assert main(["check", path + "::f"]) == 0
    assert main(["check", path + "::g"]) == 1


def test_a_seed_repeats_the_run(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("import numpy as np\ndef f(x): return np.sum(x**3)\ndef df(x): return 2 * x**2\n")
    outs = []
    for seed in ("7", "7", "8"):
        main(["check", path, "--json", "--seed", seed])
        found = json.loads(capsys.readouterr().out)["results"][0]
        outs.append({key: value for key, value in found.items() if key != "seconds"})
    assert outs[0] == outs[1] != outs[2]


def test_a_fresh_seed_is_reported(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(RIGHT)
    seeds = set()
    for _ in range(2):
        main(["check", path])
        found = re.search(r"seed (\d+)", capsys.readouterr().out)
        assert found is not None
        seeds.add(found[1])
    assert len(seeds) == 2


def test_json_is_json_whatever_the_file_prints(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        "print('hello')\nimport math\ndef f(x):\n    print(x)\n    return math.log(x)\ndef df(x): return math.nan"
    )
    assert main(["check", path, "--json", "--seed", "2"]) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out, parse_constant=pytest.fail)
    assert found["version"] == pb.__version__
    assert found["seed"] == 2
    (result,) = found["results"]
    assert result["verdict"] == "refuted"
    assert result["report"]["findings"]
    assert captured.err.count("hello") == 1


def test_the_page(write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.html"
    assert main(["check", write(RIGHT + WRONG), "--html", str(target)]) == 1
    page = target.read_text(encoding="utf-8")
    assert "REFUTED" in page
    assert "return x**3" in page or "2 * x**2" in page
    assert main(["check", write(RIGHT), "--html", str(tmp_path / "none" / "out.html")]) == 2
    assert "no page was written" in capsys.readouterr().err


def test_without_rich(write: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    genuine = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "rich":
            raise ModuleNotFoundError(name)
        return genuine(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["check", write(RIGHT + WRONG), "--seed", "1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["gradient", "of", "verdict", "kind", "evaluations", "seconds"]
    assert lines[1].split()[1] == "confirmed"
    assert lines[2].split()[1] == "refuted"


# Files of all kinds


def test_a_folder_runs_only_what_may_have_gradients(
    write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(RIGHT, "folder/right_one.py")
    write("raise RuntimeError('not to be run')", "folder/deep/script.py")
    write("raise RuntimeError\n" + WRONG, "folder/.hidden/wrong_one.py")
    assert main(["check", str(tmp_path / "folder")]) == 0
    assert "right_one.py::f" in capsys.readouterr().out


def test_a_file_in_a_package_and_its_neighbours(write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("", "cli_package/__init__.py")
    write("def cube(x): return x**3", "cli_package/functions.py")
    path = write("from .functions import cube\ndef cube_grad(x): return 3 * x**2", "cli_package/gradients.py")
    assert main(["check", path]) == 0
    write("K = 3", "cli_neighbour.py")
    path = write(
        "from cli_neighbour import K\ndef p(x): return x**K\ndef dp(x): return K * x**2", "cli_with_neighbour.py"
    )
    assert main(["check", path]) == 0
    path = write(RIGHT, "json.py")  # the name of a module of Python's own
    assert main(["check", path]) == 0
    assert json.loads("1") == 1


def test_a_notebook(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [
        ("markdown", "# Cubes"),
        ("code", ["%matplotlib inline\n", "!pip list\n", "import numpy as np\n", "files = !ls\n", "np.sum?"]),
        ("code", "%%bash\nls"),
        ("code", "%%time\ndef cube(x):\n    return np.sum(x ** 3)\ndisplay(cube(np.ones(2)))"),
        ("code", "text = '''\n% no magic\n'''\nassert text.count('%') == 1"),
        ("code", "def cube_grad(x):\n    y = x ** 2\n    return 2 * y"),
    ]
    content = {"nbformat": 4, "cells": [{"cell_type": kind, "source": source} for kind, source in cells]}
    path = write(json.dumps(content), "lesson.ipynb")
    assert main(["check", path]) == 1
    out = capsys.readouterr().out
    assert "lesson.ipynb[5]:1: gradient of cube: REFUTED" in out
    assert "return np.sum(x ** 3)" in out or "return 2 * y" in out
    content["cells"].append({"cell_type": "code", "source": "a = 1\nb = a / 0"})
    path = write(json.dumps(content), "broken.ipynb")
    assert main(["check", path]) == 2
    assert "broken.ipynb[6]:2: ZeroDivisionError" in capsys.readouterr().err


# Spread over processes


@pytest.mark.parametrize("factor", [3, 2])
def test_a_check_comes_out_the_same_over_processes(factor: int) -> None:
    x = np.random.default_rng(0).standard_normal(7)

    def gradient(x: Any) -> Any:
        return factor * x**2

    one, two = (pb.check(lambda x: np.sum(x**3), gradient, x, seed=4, jobs=jobs) for jobs in (1, 2))
    assert two.verdict == ("confirmed" if factor == 3 else "refuted")
    assert two.verdict == one.verdict
    assert [f.expected for f in two.findings] == [f.expected for f in one.findings]
    assert two.evaluations >= one.evaluations


def test_functions_may_write_to_what_they_are_given_in_other_processes() -> None:
    def f(x: Any) -> Any:
        x *= 2
        return np.sum(x)

    found = pb.check_vjp(lambda x: f(x.copy()), lambda g, x: 2 * g * np.ones_like(x), np.ones(300_000), seed=1, jobs=2)
    assert found.verdict == "confirmed"


def test_what_cannot_be_pickled_is_called_here() -> None:
    held = (n for n in range(3))  # a generator
    assert pb.check(lambda x: np.sum(x**2) + 0 * (held is None), lambda x: 2 * x, np.ones(3), seed=1, jobs=2)


def test_joblib_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)
    assert list(mapped(abs, [-1, 2], 1)) == [1, 2]
    with pytest.raises(ModuleNotFoundError, match=r"pullback\[parallel\]"):
        mapped(abs, [-1, 2], 2)
    with pytest.raises(ModuleNotFoundError, match=r"pullback\[parallel\]"):
        pb.check(np.sum, np.ones(2), np.ones(2), jobs=2)


DASK = """
    import warnings
    warnings.simplefilter("ignore")
    import joblib, numpy as np, os
    from distributed import Client, LocalCluster
    import pullback as pb
    from pullback.check.parallel import mapped

    def place(_):
        import os
        return os.getpid()

    if __name__ == "__main__":
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
            with joblib.parallel_config(backend="dask"):
                assert os.getpid() not in set(mapped(place, range(4), 2))
                x = np.linspace(0.1, 1.0, 5)
                here = pb.check(lambda x: np.sum(np.sin(x)), np.cos, x, seed=3)
                there = pb.check(lambda x: np.sum(np.sin(x)), np.cos, x, seed=3, jobs=2)
                assert here.verdict == there.verdict == "confirmed"
                assert not pb.check(lambda x: np.sum(np.sin(x)), np.sin, x, seed=3, jobs=2)
        print("done")
    """


def test_a_dask_cluster(write: Any) -> None:
    done = subprocess.run([sys.executable, write(DASK, "on_dask.py")], capture_output=True, text=True, timeout=120)
    assert done.stdout == "done\n", done.stderr
