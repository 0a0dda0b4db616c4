"""The brokers that the tests in this folder talk to, and the table of upstream results at the end of a run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.harness import EXTERNAL_URL, Broker, OwnBroker, external
from interop.upstream import RESULTS

CRASHED = "Traceback (most recent call last)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that stop the broker are left out when the broker is not ours."""
    if external() is None:
        return
    reason = f"stops and starts the broker, and the one that {EXTERNAL_URL} names is not ours to stop"
    for item in items:
        if "own_broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker, shared by the tests of one file. Its log may hold no traceback when they are through."""
    elsewhere = external()
    if elsewhere is not None:
        yield elsewhere
        return
    own = OwnBroker(tmp_path_factory.mktemp("broker"))
    try:
        yield own
        own.stop()
        assert CRASHED not in own.log(), own.log()
    finally:
        own.close()


@pytest.fixture
def own_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OwnBroker]:
    """A broker of this test's own, which it may stop, kill and start again; its parameter adds to the configuration."""
    own = OwnBroker(tmp_path, getattr(request, "param", ""))
    try:
        yield own
        assert CRASHED not in own.log(), own.log()
    finally:
        own.close()


@pytest.fixture
def unique() -> str:
    """A name that no other test uses."""
    return f"interop-{uuid.uuid4().hex[:12]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each upstream suite did."""
    if not RESULTS:
        return
    terminalreporter.section("upstream suites")
    for line in RESULTS.table():
        terminalreporter.write_line(line)
