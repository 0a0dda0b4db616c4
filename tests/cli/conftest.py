"""A broker whose control socket is served, and amqpctl."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amqpd.cli.control import main
from tests.support.control import Controlled, Ctl


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Controlled]:
    with Controlled(tmp_path) as controlled:
        yield controlled


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Ctl:
    """Run amqpctl, in process, with a command line or with words."""
    monkeypatch.delenv("AMQPD_DATA_DIR", raising=False)

    def run(*words: str, input: str | None = None) -> Result:
        line = shlex.split(words[0]) if len(words) == 1 else list(words)
        result = CliRunner().invoke(main, line, input=input)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture
def ctl(broker: Controlled, run: Ctl, monkeypatch: pytest.MonkeyPatch) -> Ctl:
    """The same, against the broker."""
    monkeypatch.setenv("AMQPD_DATA_DIR", str(broker.data_dir))
    return run
