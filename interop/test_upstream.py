"""The suites that client libraries carry, run against the broker; see `suites.py` for each exception.

Most of their time they wait, so several run at once, each against a broker of its own; against a broker that somebody
else started they take turns.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from interop.conftest import CRASHED
from interop.harness import Broker, OwnBroker, external
from interop.suites import SUITES
from interop.upstream import RESULTS, Outcome, Suite, matches, read_go, run

AT_ONCE = 3

CONFIG = "max_message_size = 128MiB\n"
"""As in RabbitMQ 3, which the suites were written for: some publish 20 MB. RabbitMQ 4 takes 16 MiB."""


class NotRun(Exception):
    """The suite needs something that is not here."""


def outcome_of(suite: Suite, directory: Path) -> Outcome:
    """Run the suite against a broker of its own, or the one that there is. Raises NotRun."""
    if suite.go_files and shutil.which("go") is None:
        raise NotRun("there is no Go toolchain")
    elsewhere = external()
    broker: Broker = elsewhere or OwnBroker(directory, CONFIG)
    try:
        if suite.needs_http and broker.http_url is None:
            raise NotRun("the broker has no management API")
        outcome = run(suite, broker, directory)
        if isinstance(broker, OwnBroker):
            broker.stop()
            assert CRASHED not in broker.log(), broker.log()
        return outcome
    finally:
        if isinstance(broker, OwnBroker):
            broker.close()


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Outcome]]]:
    """The runs of all suites that were asked for, the longest first."""
    chosen = [
        item.callspec.params["suite"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and "suite" in item.callspec.params
    ]
    chosen.sort(key=lambda suite: -suite.timeout)
    with ThreadPoolExecutor(AT_ONCE if external() is None else 1) as pool:
        runs = {suite.name: pool.submit(outcome_of, suite, tmp_path_factory.mktemp(suite.name)) for suite in chosen}
        yield runs
        for future in runs.values():
            future.cancel()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_upstream(suite: Suite, outcomes: Mapping[str, Future[Outcome]]) -> None:
    """Everything in the suite passes but what its tables list, and what they list as failing fails."""
    try:
        outcome = outcomes[suite.name].result()
    except NotRun as reason:
        RESULTS.add_skipped(suite, str(reason))
        pytest.skip(str(reason))
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
