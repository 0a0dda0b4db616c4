"""The suites that client libraries carry, run against the broker; see `suites.py` for each exception."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from interop.harness import Broker
from interop.suites import SUITES
from interop.upstream import RESULTS, Outcome, Suite, matches, read_go, run

BROKER_CONFIG = "max_message_size = 128MiB\n"
"""As in RabbitMQ 3, which the suites were written for: some publish 20 MB. RabbitMQ 4 takes 16 MiB."""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_upstream(suite: Suite, broker: Broker, tmp_path: Path) -> None:
    """Everything in the suite passes but what its tables list, and what they list as failing fails."""
    reason = None
    if suite.needs_http and broker.http_url is None:
        reason = "the broker has no management API"
    elif suite.go_files and shutil.which("go") is None:
        reason = "there is no Go toolchain"
    if reason:
        RESULTS.add_skipped(suite, reason)
        pytest.skip(reason)
    outcome = run(suite, broker, tmp_path)
    RESULTS.add(suite, outcome)
    complaints = outcome.complaints(suite)
    assert not complaints, f"{suite.name} {suite.version}:\n\n" + "\n\n".join(complaints)


def test_the_comparison_reports_every_kind_of_difference() -> None:
    """The comparison itself: a failure not listed, a listed one that passes, an entry that means nothing, too few."""
    suite = Suite(
        "x", "x", "1", (), failing={"t::ok": "known", "t::gone": "known"}, left_out={"t::slow*": "slow"}, minimum=9
    )
    outcome = Outcome(passed={"t::ok"}, failed={"t::bad[1]": "boom"})
    found = "\n".join(outcome.complaints(suite))
    assert "FAILED t::bad[1]\nboom" in found
    assert "PASSED t::ok" in found
    assert "NO TEST is called t::gone" in found
    assert "NO TEST is called t::slow*" in found
    assert "ONLY 1 tests passed" in found


def test_patterns_take_brackets_literally() -> None:
    """Ids of parametrized tests are full of brackets, which a shell pattern would read as a choice."""
    assert matches("t.py::test_x[tls-1]", "*::test_x[tls-*")
    assert not matches("t.py::test_xt", "*::test_x[tls]")


def test_a_go_test_that_never_ends_has_failed() -> None:
    """`go test` ends its event stream early when a test panics or the time is up."""
    events = '{"Action":"run","Test":"TestA"}\n{"Action":"output","Test":"TestA","Output":"panic: no\\n"}\n'
    outcome = read_go(events, "", set())
    assert "panic: no" in outcome.failed["TestA"]
