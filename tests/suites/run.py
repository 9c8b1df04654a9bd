"""Runs the test suites of HIPS/autograd and of MyGrad on pullback.

    python tests/suites/run.py DIR [-n WORKERS]

DIR holds checkouts of the two projects, `autograd/` and `MyGrad/`; a missing one is left out. Nothing in them is
changed: their tests are copied to a temporary directory and run there, in a process of their own, against the modules
beside this file, which present pullback under the two libraries' names. Exits with 0 if, in each suite that is there,
at least as many tests pass as are recorded here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Suite:
    """A suite: its checkout, the modules that stand for its library, and what is recorded of it."""

    name: str
    checkout: str
    modules: str
    passing: int  # tests that pass on the recorded checkout
    left_out: dict[str, str] = field(default_factory=dict)  # files, or single tests, and why
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, workers: int) -> list[str]:
        skipped = [f"--{'deselect' if '::' in path else 'ignore'}=tests/{path}" for path in self.left_out]
        spread = ["-n", str(workers)] if workers else []
        quiet = ["-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-p", "reporting"]
        return [sys.executable, "-m", "pytest", *quiet, *spread, *skipped, "tests"]

    def run(self, checkout: Path, workers: int) -> dict[str, tuple[str, str]]:
        """The outcomes of the tests, by name."""
        with tempfile.TemporaryDirectory() as place:
            shutil.copytree(checkout / "tests", Path(place, "tests"))
            results = Path(place, "results.json")
            paths = [str(HERE / self.modules), str(HERE), place]
            environment = {
                **os.environ,
                **self.environment,
                "PYTHONPATH": os.pathsep.join(paths),
                "PYTHONDONTWRITEBYTECODE": "1",
                "OMP_NUM_THREADS": "1",
                "SUITE_RESULTS": str(results),
            }
            ran = subprocess.run(
                self.command(workers), cwd=place, env=environment, capture_output=True, text=True, check=False
            )
            if not results.exists():
                raise SystemExit(f"{self.name}: the tests did not run.\n{ran.stdout}{ran.stderr}")
            return json.loads(results.read_text())


_PRIVATE = "MyGrad's own machinery"
_TOOLS = "tests of its test tools"
SUITES = (
    Suite("HIPS/autograd", "autograd", "hips", passing=595),
    Suite(
        "MyGrad",
        "MyGrad",
        "mygrad",
        passing=1130,  # of 1,136: some draw weights at random and judge their statistics
        environment={"HYPOTHESIS_PROFILE": "dev"},  # ten examples for each test that does not say
        left_out={
            "custom_strategies": _TOOLS,
            "utils": _TOOLS,
            "wrappers": _TOOLS,
            "state_testing": _PRIVATE,
            "tensor_base/test_memory_locking.py": "which arrays its graph locks, and when",
            "tensor_base/test_op_wrapper.py": _PRIVATE,
            "tensor_base/test_placeholder_copy.py": _PRIVATE,
            "tensor_base/test_replay_view_op.py": _PRIVATE,
            "tensor_base/test_view_graph.py": _PRIVATE,
            "test_dtype_mirrors.py": "names of NumPy's dtypes",
            "test_duplicating_graph.py": _PRIVATE,
            "test_numpy_override.py": "its table of overrides",
            "test_operation_base.py": _PRIVATE,
            "test_utils.py": _PRIVATE,
            "test_version.py": "its version",
            "test_weakref.py": "when its graph is freed",
            "ufuncs/test_public_interface.py": "what its ufunc classes show of themselves",
            "linalg/test_einsum.py::test_unique_from_end": _PRIVATE,
            "linalg/test_einsum.py::test_merge_mappings": _PRIVATE,
            "linalg/test_einsum.py::test_redundant_args": _PRIVATE,
            "tensor_ops/test_setitem.py::test_arr_util": _PRIVATE,
            "tensor_ops/test_setitem.py::test_int_array_test": _PRIVATE,
            "tensor_ops/test_setitem.py::test_bool_array_test": _PRIVATE,
        },
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", type=Path, metavar="DIR", help="holds the checkouts autograd/ and MyGrad/")
    parser.add_argument("-n", dest="workers", type=int, default=0, help="processes for each suite")
    options = parser.parse_args()
    lines, good = [], True
    for suite in SUITES:
        checkout = options.directory / suite.checkout
        if not (checkout / "tests").is_dir():
            print(f"{suite.name}: no tests in {checkout}, left out\n")
            continue
        outcomes = suite.run(checkout, options.workers)
        count = {kind: sum(found == kind for found, _ in outcomes.values()) for kind in ("passed", "failed", "skipped")}
        print(f"{suite.name}: what fails")
        for name, (kind, reason) in sorted(outcomes.items()):
            if kind == "failed":
                print(f"  {name.removeprefix('tests/')}: {reason[:100]}")
        for path, why in suite.left_out.items():
            print(f"  left out: {path}: {why}")
        print()
        good &= count["passed"] >= suite.passing
        numbers = (len(outcomes), *count.values(), len(suite.left_out), suite.passing)
        lines.append(f"{suite.name:15}" + "".join(f"{n:>11}" for n in numbers))
    heads = ("collected", "passed", "failed", "skipped", "left out", "recorded")
    print(f"{'suite':15}" + "".join(f"{head:>11}" for head in heads), *lines, sep="\n")
    return 0 if good and lines else 1


if __name__ == "__main__":
    sys.exit(main())
