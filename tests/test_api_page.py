"""The page of all functions, docs/api.md, is what `make api` writes now."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_is_current() -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_api.py", "--check"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert run.returncode == 0, run.stderr or "docs/api.md is not current: run `make api`"
