"""A pytest plugin for the process that runs an upstream suite: leaves tests out, and records what became of the rest.

It is copied next to the suite and loaded by name, so it may import nothing of ours.
"""

from __future__ import annotations

import json
import os
import time
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

LEFT_OUT: list[str] = json.loads(os.environ["AMQPD_RECORDER_LEFT_OUT"])
REPORT = Path(os.environ["AMQPD_RECORDER_REPORT"])

found: dict[str, object] = {}
passed: set[str] = set()
failed: dict[str, str] = {}
skipped: dict[str, str] = {}
left_out: list[str] = []
began = time.monotonic()


def listed(test: str) -> bool:
    """Whether the table leaves this test out; `*` is the only special character of its keys."""
    return any(fnmatchcase(test, key.replace("[", "[[]").replace("?", "[?]")) for key in LEFT_OUT)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take the tests that are left out from the collection, and note their names."""
    gone = [item for item in items if listed(item.nodeid)]
    left_out.extend(item.nodeid for item in gone)
    items[:] = [item for item in items if not listed(item.nodeid)]
    if gone:
        config.hook.pytest_deselected(items=gone)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that can't be imported has failed."""
    if report.failed:
        failed[report.nodeid] = str(report.longrepr)[-3000:]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test passes if its call passes and neither its setup nor its teardown fails."""
    test = report.nodeid
    if report.failed:
        failed[test] = f"({report.when}) " + (report.longreprtext or "")[-3000:]
        passed.discard(test)
    elif report.skipped:
        skipped[test] = report.longreprtext or ""
    elif report.when == "call" and test not in failed:
        passed.add(test)


def pytest_sessionfinish() -> None:
    """Write the report."""
    found.update(passed=sorted(passed), failed=failed, skipped=skipped, left_out=left_out)
    found["seconds"] = time.monotonic() - began
    REPORT.write_text(json.dumps(found))
