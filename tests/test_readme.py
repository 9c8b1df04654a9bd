"""The README keeps its word: its Python runs, its links lead somewhere, its commands exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_python_runs_and_prints_what_it_says(tmp_path, monkeypatch, capsys):
    for package in ("rich", "matplotlib", "pygraphviz"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    code = "\n".join(text for language, text in BLOCKS if language == "python")
    exec(compile(code, "<README>", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    for line in (
        "tensor([2., 4.])",
        "tensor(-2.0000, requires_grad=True)",
        "[0.8 1.6]",
        "% right",
        "All keys matched",
        "refuted wrong_point",
    ):
        assert line in printed, line
    assert "SinBackward0" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"model.pth", "graph.svg"}


def test_the_commands_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = re.findall(r"`?make (\w+)", README)
    assert {"demo", "test", "bench"} <= set(commands) <= targets
    extras = set(re.findall(r"\.\[(\w+)\]", README))
    assert all(f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text(encoding="utf-8") for extra in extras)


def test_its_pictures_are_there_and_small():
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert len(pictures) >= 2
    for picture in pictures:
        assert 1000 < (ROOT / picture).stat().st_size < 150 * 1024, picture
    for path in re.findall(r"`((?:src|tests|docs)/[^`]+)`", README):
        assert (ROOT / path).exists(), path
