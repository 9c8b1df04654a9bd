"""Run the demo: `python -m pullback.demo [--out out] [--only 1,3] [--quick]`."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

if missing := [name for name in ("rich", "matplotlib", "tqdm") if find_spec(name) is None]:
    sys.exit(f"The demo needs {', '.join(missing)}: pip install 'pullback[demo]', or run `make demo`.")

from rich.console import Console
from rich.text import Text

from pullback.demo import by_hand, compiled, descent, fields, network, two_layers
from pullback.demo.part import Part
from pullback.show import Section, Table, report

PARTS: dict[int, tuple[str, Callable[[Part], None]]] = {
    number: (module.TITLE, module.run)
    for number, module in enumerate((by_hand, network, descent, two_layers, fields, compiled), 1)
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for; 0 if every check passed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m pullback.demo", description="Gradients on real data, checked.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures and the page (out)")
    parser.add_argument("--only", type=_numbers, default=list(PARTS), help="parts to run, such as 1,3")
    parser.add_argument("--quick", action="store_true", help="fewer rows and steps, no progress bars")
    options = parser.parse_args(arguments)

    console = Console(width=None if sys.stdout.isatty() else 120)
    parts = []
    start = time.perf_counter()
    for number in options.only:
        title, run = PARTS[number]
        part = Part(number, title, options.out, console, options.quick)
        parts.append(part)
        console.rule(Text(f"{number}. {title}", style="bold"), align="left")
        with part.timed():
            try:
                run(part)
            except Exception:
                console.print(Text(traceback.format_exc()), style="red")
                part.note("the part ran to its end", float("nan"), 0)
    failed = summarise(parts, time.perf_counter() - start, options.out, console)
    return 1 if failed else 0


def _numbers(text: str) -> list[int]:
    try:
        numbers = sorted({int(word) for word in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or any(number not in PARTS for number in numbers):
        raise argparse.ArgumentTypeError(f"parts are numbers from 1 to {len(PARTS)}, separated by commas")
    return numbers


def summarise(parts: Sequence[Part], seconds: float, out: Path, console: Console) -> int:
    """Print the summary and write the page; the number of failed checks. A part without any check counts as failed."""
    summary = Table(
        "The parts",
        ["part", "checks", "passed", "caught", "skipped", "seconds", "ok?"],
        note="caught: planted mistakes that were found, as they must be.",
    )
    failures = []
    for part in parts:
        wrong = [check for check in part.checks if not check.ok]
        failures += [(part.number, check) for check in wrong]
        if not part.checks and not part.skipped:
            failures.append((part.number, part.note("there is something to check", float("nan"), 0)))
        caught = sum(check.wrong and check.ok for check in part.checks)
        summary.add(
            f"{part.number}. {part.title}", len(part.checks), len(part.checks) - len(wrong), caught, len(part.skipped),
            round(part.seconds, 1), bool(part.checks) and not wrong if not part.skipped else not wrong,
        )  # fmt: skip
    total = sum(len(part.checks) for part in parts)
    sentence = f"{total} comparisons in {seconds:.1f} s: " + (
        f"{len(failures)} FAILED." if failures else "all as they must be."
    )
    opening = Section("Summary").text(sentence).table(summary)
    if failures:
        table = Table("Failed", ["part", "check", "error", "allowed"])
        for number, check in failures:
            table.add(
                number, check.what, f"{check.error:.2e}", f"{'more than ' if check.wrong else ''}{check.bound:.2e}"
            )
        opening.table(table)
        console.print(table.rich())
    page = report(
        "pullback: the demo", [opening, *(part.section for part in parts)], out / "index.html",
        "Gradients by hand, by differences and by pullback, on real data; models fitted; every number compared.",
    )  # fmt: skip
    console.rule()
    console.print(summary.rich())
    console.print(Text(sentence, style="bold red" if failures else "bold green"))
    console.print(Text(f"The page: {page}"))
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
