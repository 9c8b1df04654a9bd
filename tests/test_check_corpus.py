"""The checker on the corpus of planted faults (benchmarks/check), and the corpus itself."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.check.corpus import SUBJECTS
from benchmarks.check.plant import OF_F, Subject
from benchmarks.check.score import by_pullback, is_small, numbers_of, results_of, score, verdict_of_pullback

from pullback.check.report import KINDS

STATE = ("accumulate", "side_effect", *OF_F)  # kinds that do not show in what a first call returns
SAMPLED = 10  # explanations are sought of each tenth claim
NAMED = {"first": 0.85, "among_three": 0.9}


def test_corpus_is_as_large_as_it_claims():
    faults = [fault for subject in SUBJECTS.values() for fault in subject.faults]
    kinds = Counter(fault.kind for fault in faults)
    assert len(SUBJECTS) >= 130
    assert sum(n for kind, n in kinds.items() if kind != "kink") >= 850
    assert set(kinds) == set(KINDS)
    assert {subject.group for subject in SUBJECTS.values()} == {"ordinary", "hard", "kinks"}
    assert sum(is_small(s, fault, 0) for s in SUBJECTS.values() for fault in s.faults) >= 40


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_each_fault_changes_the_gradient(subject: Subject):
    """In its numbers or shapes; that of some shows only in later calls."""
    true = numbers_of(subject, None, 0)
    for fault in subject.faults:
        if fault.kind in STATE:
            subject.built(fault)
            continue
        claimed = numbers_of(subject, fault, 0)
        same = [a.shape == b.shape and bool(np.all(a == b)) for a, b in zip(true, claimed)]
        assert not all(same) or len(true) != len(claimed), fault


def test_no_false_alarm_and_no_fault_missed():
    """One seed, without the explanations."""
    results = results_of(verdict_of_pullback, list(SUBJECTS.values()))
    assert [f"{r.name}: {r.answer.verdict} {r.answer.text}" for r in results if not r.is_right] == []


def test_kinds_are_named():
    found = score(results_of(by_pullback, list(SUBJECTS.values()), every=SAMPLED))
    assert found.first >= NAMED["first"]
    assert found.among_three >= NAMED["among_three"]
