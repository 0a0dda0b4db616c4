"""Log lines, levels, outputs, and setting them up again."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from amqpd.config.log_json import JsonFormatter
from amqpd.config.log_lines import TextFormatter
from amqpd.config.logs import HANDLER_NAMES, NOTICE, configure
from amqpd.config.schema import CATEGORIES
from amqpd.config.settings import load

HEAD = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d \[%s\] <0\." + str(os.getpid()) + r"\.0> "


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging as it was, after each test."""
    yield
    root = logging.getLogger()
    for handler in ours():
        root.removeHandler(handler)
        handler.close()
    for name in ("amqpd", *(f"amqpd.{category}" for category in CATEGORIES)):
        logging.getLogger(name).setLevel(logging.NOTSET)


def ours() -> list[logging.Handler]:
    return [handler for handler in logging.getLogger().handlers if handler.name in HANDLER_NAMES.values()]


def set_up(**overrides: str) -> None:
    """Configure with these keys; `__` is a dot."""
    configure(load(None, {name.replace("__", "."): value for name, value in overrides.items()}, {}))


def record(message: str, level: int = logging.INFO, **more: object) -> logging.LogRecord:
    made = {"name": "amqpd.connection", "levelno": level, "levelname": logging.getLevelName(level), "msg": message}
    return logging.makeLogRecord({**made, **more})


def failure() -> object:
    try:
        raise RuntimeError("boom")
    except RuntimeError as error:
        return (RuntimeError, error, error.__traceback__)


@pytest.mark.parametrize(
    ("level", "word"),
    [
        (logging.DEBUG, "debug"),
        (logging.INFO, "info"),
        (NOTICE, "notice"),
        (logging.WARNING, "warning"),
        (logging.ERROR, "error"),
        (logging.CRITICAL, "critical"),
        (35, "level 35"),
    ],
)
def test_a_line(level: int, word: str) -> None:
    line = TextFormatter().format(record("hello", level))
    assert re.fullmatch(HEAD % word + "hello", line)


def test_the_time_of_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = TextFormatter().format(record("x", created=1767268800.123456))
    assert line.startswith(("2026-01-01 ", "2025-12-31 "))
    assert ".123456" in line


def test_every_line_has_the_head() -> None:
    lines = TextFormatter().format(record("one\ntwo", logging.ERROR, exc_info=failure())).split("\n")
    assert all(re.match(HEAD % "error", line) for line in lines)
    assert [line.split("> ", 1)[1] for line in lines[:3]] == ["one", "two", "Traceback (most recent call last):"]
    assert lines[-1].endswith("> RuntimeError: boom")


def test_json() -> None:
    line = JsonFormatter().format(record("accepted %s", NOTICE, args=("gr\u00fcn",)))
    assert "\n" not in line
    fields = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d", fields.pop("time"))
    assert fields == {
        "level": "notice",
        "msg": "accepted gr\u00fcn",
        "pid": f"<0.{os.getpid()}.0>",
        "domain": "amqpd.connection",
    }


def test_json_with_an_exception() -> None:
    fields = json.loads(JsonFormatter().format(record("x", logging.ERROR, exc_info=failure())))
    assert fields["exc_info"].endswith("RuntimeError: boom")


def test_the_console_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    set_up()
    logging.getLogger("amqpd.connection").info("hello")
    logging.getLogger("amqpd.connection").debug("quiet")
    logging.getLogger("asyncio").warning("slow")
    out, err = capsys.readouterr()
    assert [line.split("> ", 1)[1] for line in out.splitlines()] == ["hello", "slow"]
    assert err == ""


def written(capsys: pytest.CaptureFixture[str], *loggers: str) -> list[str]:
    """Which of debug, info and warning each logger gets through to the console."""
    capsys.readouterr()
    for name in loggers:
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            logging.getLogger(name).log(
                level, "%s %s", name.removeprefix("amqpd."), logging.getLevelName(level).lower()
            )
    return [line.split("> ", 1)[1] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        ({}, ["connection info", "connection warning", "storage info", "storage warning"]),
        (
            {"log__console__level": "debug"},
            [f"{name} {level}" for name in ("connection", "storage") for level in ("debug", "info", "warning")],
        ),
        (
            {"log__default__level": "debug"},
            [f"{name} {level}" for name in ("connection", "storage") for level in ("debug", "info", "warning")],
        ),
        ({"log__default__level": "warning", "log__console__level": "debug"}, ["connection warning", "storage warning"]),
        ({"log__connection__level": "warning"}, ["connection warning", "storage info", "storage warning"]),
        ({"log__connection__level": "none"}, ["storage info", "storage warning"]),
        (
            {"log__connection__level": "debug"},
            ["connection debug", "connection info", "connection warning", "storage info", "storage warning"],
        ),
        (
            {"log__connection__level": "debug", "log__console__level": "warning"},
            ["connection warning", "storage warning"],
        ),
        ({"log__console__level": "none"}, []),
        ({"log__console": "false"}, []),
    ],
)
def test_levels(capsys: pytest.CaptureFixture[str], overrides: dict[str, str], lines: list[str]) -> None:
    set_up(**overrides)
    assert written(capsys, "amqpd.connection", "amqpd.storage") == lines


def test_a_logger_refuses_what_no_output_wants() -> None:
    set_up(log__channel__level="error")
    assert not logging.getLogger("amqpd.channel").isEnabledFor(logging.WARNING)
    assert logging.getLogger("amqpd.queue").isEnabledFor(logging.INFO)
    assert not logging.getLogger("amqpd.queue").isEnabledFor(logging.DEBUG)


def test_each_output_has_its_level_and_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "a.log"
    set_up(log__file=str(path), log__file__level="debug", log__file__formatter="json", log__console__level="error")
    logging.getLogger("amqpd.queue").debug("declared")
    assert capsys.readouterr().out == ""
    assert json.loads(path.read_text())["msg"] == "declared"


def test_setting_up_again_replaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "1.log", tmp_path / "2.log"
    set_up(log__file=str(first))
    old = next(handler for handler in ours() if isinstance(handler, logging.FileHandler))
    logging.getLogger("amqpd").info("one")
    set_up(log__file=str(second))
    logging.getLogger("amqpd").info("two")
    assert old.stream is None, "the old file is closed"
    assert len(ours()) == 2
    assert [path.read_text().count("\n") for path in (first, second)] == [1, 1]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_moved_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    set_up(log__file=str(path))
    logging.getLogger("amqpd").info("one")
    path.rename(tmp_path / "a.log.1")
    set_up(log__file=str(path))
    logging.getLogger("amqpd").info("two")
    assert path.read_text().endswith("two\n") and "one" not in path.read_text()


def test_a_file_that_cannot_be_opened_changes_nothing(tmp_path: Path) -> None:
    set_up(log__file=str(tmp_path / "a.log"))
    before = ours()
    with pytest.raises(OSError):
        set_up(log__file=str(tmp_path))
    assert ours() == before
    logging.getLogger("amqpd").info("still here")
    assert "still here" in (tmp_path / "a.log").read_text()
