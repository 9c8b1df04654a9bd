"""`pullback check file.py`: what is there to check in a file, checked, and shown."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import pullback as pb
from pullback.check.collect import Result, collect, is_worth_running
from pullback.cli.load import LoadError, load, python_of
from pullback.cli.present import as_json, print_results, write_page
from pullback.cli.spread import Task, examined

__all__ = ["main"]

_DESCRIPTION = """\
Check the gradients in Python files and notebooks: every function that has one beside it is run, and its gradient is
confirmed, refuted or left undecided; a refuted one is explained, with the lines it comes from.

What is found:
  a function marked @pb.gradient_of(f), where pb is pullback
  f with f_grad, grad_f, df, f_prime, f_backward, f_vjp, f_jvp, f_jacobian, f_hessian, ...
  a class with forward (or loss) and backward
  a torch.autograd.Function, a jax.custom_vjp

Arguments are made up, small and from the seed: by annotations, by shapes in docstrings, by defaults and by names. To
give them yourself, write into the file
  def pullback_inputs_loss(rng): return rng.standard_normal(3), 0.5     # the arguments of loss
or  @pb.gradient_of(loss, inputs=lambda rng: ...)                       # a tuple, or a dict by names
For a class Net they are an instance, followed by the arguments of its forward: return Net(3, 4), x

The code in PATH is run, as an import runs it: check only files that you would run.
"""
_EXAMPLES = """\
examples:
  pullback check model.py                     every pair in the file
  pullback check model.py::loss --seed 3      one of them, with the same directions every time
  pullback check lesson.ipynb --html out.html a notebook, and the report as a page
  pullback check src --jobs 4 --json          a folder, four pairs at a time, as JSON

exit code: 0 all confirmed, 1 something was refuted, 2 something is undecided or can't be checked
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process without any). Returns the exit code."""
    parser = argparse.ArgumentParser(prog="pullback", description="Gradients of Python numerical code, proved right.")
    parser.add_argument("--version", action="version", version=f"pullback {pb.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    check = commands.add_parser(
        "check",
        help="check the gradients in a file",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument(
        "paths", nargs="+", metavar="PATH[::NAME]", help="a Python file, a notebook, or a folder of them"
    )
    check.add_argument(
        "--seed", type=int, metavar="N", help="of the arguments and directions; fresh and shown otherwise"
    )
    check.add_argument("--html", type=Path, metavar="FILE", help="write the reports as a page, which opens offline")
    check.add_argument("--json", action="store_true", help="print the results as JSON")
    check.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes to spread the pairs over (-1: one per core)"
    )
    options = parser.parse_args(argv)
    if options.seed is not None and options.seed < 0:
        parser.error("--seed takes a number that is not negative")
    if options.jobs == 0:
        parser.error("--jobs takes a number of processes, or -1 for one per core")
    return _check(options)


def _check(options: argparse.Namespace) -> int:
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    tasks: list[Task] = []
    errors: list[str] = []
    for path in options.paths:
        found, trouble = _tasks(path, seed)
        tasks += found
        errors += trouble
    try:
        results = examined(tasks, options.jobs)
    except ModuleNotFoundError as error:
        results, errors = [], [*errors, str(error)]
    if options.html is not None and results:
        try:
            write_page(results, options.html)
        except (OSError, ImportError) as error:
            errors.append(f"no page was written: {error}")
    if options.json:
        print(as_json(results, errors, seed))
    else:
        print_results(results, seed)
    for text in errors:
        print(f"pullback: {text}", file=sys.stderr)
    return _code(results, errors)


def _tasks(path: str, seed: int) -> tuple[list[Task], list[str]]:
    """What is to be checked at `PATH[::NAME]`, and what is wrong with it."""
    file, _, name = path.partition("::")
    where = Path(file)
    tasks: list[Task] = []
    errors: list[str] = []
    files = [where]
    if where.is_dir():
        inside = sorted(p for kind in ("*.py", "*.ipynb") for p in where.rglob(kind))
        inside = [p for p in inside if not any(part.startswith(".") for part in p.relative_to(where).parts)]
        files = [p for p in inside if is_worth_running(python_of(p))]
    for one in files:
        try:
            pairs = collect(load(one))
        except LoadError as error:
            errors.append(str(error))
            continue
        chosen = [p for p in pairs if not name or p.name == name or p.name.partition(":")[0] == name]
        tasks += [Task(one, p, seed) for p in chosen]
        if name and not chosen:
            known = ", ".join(p.name for p in pairs) or "nothing"
            errors.append(f"there is no gradient of {name} in {one}; there is that of {known}")
    if not tasks and not errors:
        errors.append(f"nothing to check was found in {path}: see  pullback check --help")
    return tasks, errors


def _code(results: Sequence[Result], errors: Sequence[str]) -> int:
    if any(result.verdict == "refuted" for result in results):
        return 1
    return 2 if errors or any(result.verdict != "confirmed" for result in results) else 0
