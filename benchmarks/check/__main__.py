"""The score of gradient checkers on a corpus of hand-written gradients and planted faults.

python -m benchmarks.check                   pullback's score, over all and for each kind
python -m benchmarks.check --peers           and that of the installed peers
python -m benchmarks.check --failures        each miss, and what was said
python -m benchmarks.check --only axis       one kind, one group, or the functions with this in their names
python -m benchmarks.check --seeds 20        false alarms over so many seeds (the faults are left out)
"""

from __future__ import annotations

import os

from benchmarks.timing import one_thread

one_thread()

import argparse
import textwrap
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.check.corpus import SUBJECTS
from benchmarks.check.score import Result, Score, by_pullback, results_of, score, verdict_of_pullback
from benchmarks.table import show

HEADINGS = (
    "",
    "false alarms: ordinary / hard / kinks",
    "found: ordinary / hard / kinks",
    "errors under 1 %",
    "useful on hard",
    "undecided",
    "kind first / in three",
    "evaluations",
    "seconds",
)


def percent(share: float) -> str:
    return "–" if share != share else f"{100 * share:.3g} %"


def row_of(name: str, made: Score) -> list[str]:
    """A checker's row in the table."""
    return [
        name,
        " / ".join(percent(x) for x in made.false_alarms.values()),
        " / ".join(percent(x) for x in made.found.values()),
        percent(made.found_small),
        percent(made.useful_hard),
        percent(made.undecided),
        f"{percent(made.first)} / {percent(made.among_three)}" if made.first > 0 else "–",
        "–" if made.evaluations != made.evaluations else f"{made.evaluations:.0f}",
        f"{made.seconds:.1f}",
    ]


def by_kind(results: Sequence[Result]) -> list[list[str]]:
    """For each kind: how many faults, how many were refuted, named first, named among three."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result.fault is not None and not result.is_true:
            groups[result.fault.kind].append(result)
    rows = []
    for kind, members in sorted(groups.items(), key=lambda item: sum(r.rank == 1 for r in item[1]) / len(item[1])):
        counts = (sum(r.is_right for r in members), sum(r.rank == 1 for r in members))
        three = sum(1 <= r.rank <= 3 for r in members)
        instead: dict[str, int] = defaultdict(int)
        for r in members:
            if r.rank != 1:
                instead[r.answer.kinds[0] if r.answer.kinds else r.answer.verdict] += 1
        others = ", ".join(f"{name} {n}" for name, n in sorted(instead.items(), key=lambda item: -item[1])[:4])
        rows.append([kind, str(len(members)), *map(str, counts), str(three), others])
    return rows


def failures(results: Sequence[Result], kinds: bool) -> None:
    """Print each miss: first the wrong verdicts, then (if `kinds`) the kinds that were not named first."""
    wrong = [r for r in results if not r.is_right]
    unnamed = [r for r in results if kinds and r.is_right and not r.is_true and r.rank != 1]
    for title, members in (("Wrong verdicts", wrong), ("Right verdicts, another kind named first", unnamed)):
        print(f"\n{title}: {len(members)}")
        for r in sorted(members, key=lambda r: (r.blame, r.fault.kind if r.fault else "")):
            print(f"\n{r.blame:14}{r.name}  (seed {r.seed}, {r.subject.family}, {r.subject.group})")
            said = f"{r.answer.verdict}; kinds {', '.join(r.answer.kinds) or 'none'}"
            print(textwrap.indent("\n".join([said, *r.answer.text.splitlines()[:5]]), " " * 14))


def main() -> None:
    parser = argparse.ArgumentParser(
        "benchmarks.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", action="store_true", help="score the installed peers too")
    parser.add_argument("--failures", action="store_true", help="list each miss of pullback")
    parser.add_argument("--only", default="", metavar="WORD", help="a kind, a group, a family, or part of a name")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th claim only, which is faster")
    parser.add_argument("--seeds", type=int, default=0, metavar="N", help="true claims only, with seeds 0 to N - 1")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="the seed of inputs and directions")
    parser.add_argument("--verdicts", action="store_true", help="leave the explanations out, which is faster")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes for pullback's part")
    options = parser.parse_args()

    subjects = list(SUBJECTS.values())
    seeds = range(options.seeds) if options.seeds else (options.seed,)
    asked = {"faults": not options.seeds, "only": options.only, "every": options.every}
    ours = verdict_of_pullback if options.verdicts or options.seeds else by_pullback
    results = results_of(ours, subjects, seeds, **asked, jobs=options.jobs)
    total = score(results)
    functions = len({r.subject.name for r in results})
    print(f"{functions} functions, {total.claims} true claims, {total.faults} faults")
    rows = [row_of("pullback", total)]
    if options.peers:
        from benchmarks.check.peers import PEERS

        rows += [row_of(name, score(results_of(peer, subjects, seeds, **asked))) for name, peer in PEERS.items()]
    show(HEADINGS, rows)
    if total.faults and not options.verdicts:
        show(("kind", "faults", "refuted", "first", "in three", "named instead"), by_kind(results))
    slowest = sorted(results, key=lambda r: -r.seconds)[:5]
    print("slowest: " + "; ".join(f"{r.name[:60]} {r.seconds:.1f} s" for r in slowest))
    if options.failures:
        failures(results, kinds=not options.verdicts)


if __name__ == "__main__":
    main()
