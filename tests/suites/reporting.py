"""A pytest plugin for the suites: one course of Hypothesis for everyone, and the outcome of each test in a file.

The file is named by the environment's `SUITE_RESULTS`.
"""

import json
import os
from pathlib import Path

from hypothesis import HealthCheck, settings

# The suites' own profiles, registered later, start from this one.
settings.register_profile(
    "suite", derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False
)
settings.load_profile("suite")

_outcomes: dict[str, tuple[str, str]] = {}


def _reason(report):
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash else str(report.longrepr)).strip().splitlines()
    return lines[0] if crash or not lines else lines[-1]


def pytest_runtest_logreport(report):
    """Called for each phase of each test; under xdist by the workers and, again, by the process that started them."""
    if report.failed:
        _outcomes[report.nodeid] = "failed", _reason(report)
    elif report.skipped:
        _outcomes.setdefault(report.nodeid, ("skipped", ""))
    elif report.when == "call":
        _outcomes.setdefault(report.nodeid, ("passed", ""))


def pytest_collectreport(report):
    if report.failed:
        _outcomes[report.nodeid] = "failed", _reason(report)


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        Path(os.environ["SUITE_RESULTS"]).write_text(json.dumps(_outcomes))
