"""The syntax of rabbitmq.conf, and which files are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from amqpd.config.reader import Entry, Rank, files, parse, read


def parsed(text: str, environ: dict[str, str] | None = None) -> tuple[list[tuple[str, str]], list[str]]:
    problems: list[str] = []
    entries = parse(text, "x.conf", Rank.FILE, environ or {}, problems)
    return [(entry.key, entry.text) for entry in entries], problems


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("heartbeat = 30", [("heartbeat", "30")]),
        ("heartbeat=30", [("heartbeat", "30")]),
        ("\t heartbeat  =\t30  ", [("heartbeat", "30")]),
        ("heartbeat = 30 # seconds", [("heartbeat", "30")]),
        ("heartbeat = 30#seconds", [("heartbeat", "30")]),
        ("## heartbeat = 30\n#\n\n   # x\n", []),
        ("a = 1\r\nb = 2\r\n", [("a", "1"), ("b", "2")]),
        ("a = b = c", [("a", "b = c")]),
        ("cluster_name = two words", [("cluster_name", "two words")]),
        ("default_pass = 'a#b c'  # quoted", [("default_pass", "a#b c")]),
        ("default_pass = ''", [("default_pass", "")]),
        ("default_pass = it's", [("default_pass", "it's")]),
        ("a = 1\na = 2", [("a", "1"), ("a", "2")]),
        (r"loopback_users.bob\.smith = true", [(r"loopback_users.bob\.smith", "true")]),
        ("cluster_name = gr\u00fcn", [("cluster_name", "gr\u00fcn")]),
    ],
)
def test_lines(text: str, entries: list[tuple[str, str]]) -> None:
    assert parsed(text) == (entries, [])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("heartbeat", "'heartbeat' is not of the form key = value"),
        ("heart beat = 3", "'heart beat = 3' is not of the form key = value"),
        ("[main]", "'[main]' is not of the form key = value"),
        (".a = 3", "'.a = 3' is not of the form key = value"),
        ("heartbeat =", "heartbeat: has no value"),
        ("heartbeat = # 30", "heartbeat: has no value"),
        ("default_pass = 'abc", "default_pass: the quote is not closed"),
        ("default_pass = 'abc' d", "default_pass: there is something after the closing quote"),
        ("default_pass = $(NOPE)", "default_pass: there is no environment variable NOPE"),
    ],
)
def test_bad_lines(line: str, problem: str) -> None:
    assert parsed(f"a = 1\n{line}\nb = 2") == ([("a", "1"), ("b", "2")], [f"x.conf:2: {problem}"])


def test_environment_variables_are_put_in() -> None:
    environ = {"HOST": "east", "N": "$(HOST)"}
    assert parsed("cluster_name = $(HOST)-$(N)-'$HOST'", environ) == ([("cluster_name", "east-$(HOST)-'$HOST'")], [])
    assert parsed("default_pass = 'a#$(HOST)'", environ) == ([("default_pass", "a#east")], [])


def test_entries_say_where_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "x.conf"
    file.write_text("\ufeff# with a byte order mark\nheartbeat = 5\n", encoding="utf-8")
    assert read([(file, Rank.DROP_IN)], {}, []) == [Entry("heartbeat", "5", f"{file}:2", Rank.DROP_IN)]


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "x.conf"
    file.write_bytes(b"a = 1\nb = \xff\n")
    problems: list[str] = []
    assert read([(file, Rank.FILE)], {}, problems) == []
    assert problems == [f"{file}:2: is not UTF-8"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    problems: list[str] = []
    assert read([(tmp_path, Rank.FILE)], {}, problems) == []
    assert problems == [f"{tmp_path}: cannot be read: {os.strerror(21)}"]


# Which files.


def chosen(config_file: str | None = None, **environ: str) -> tuple[list[Path], list[str], list[str]]:
    problems: list[str] = []
    warnings: list[str] = []
    return [path for path, _ in files(config_file, environ, problems, warnings)], problems, warnings


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_without_any_file() -> None:
    assert chosen() == ([], [], [])


def test_our_place_comes_before_rabbitmqs(etc: Path) -> None:
    theirs = made(etc / "rabbitmq" / "rabbitmq.conf")
    assert chosen() == ([theirs], [], [])
    ours = made(etc / "amqpd" / "amqpd.conf")
    assert chosen() == ([ours], [], [])


def test_drop_ins_come_in_the_order_of_their_names(etc: Path) -> None:
    later, sooner = (made(etc / "rabbitmq" / "conf.d" / name) for name in ("20-b.conf", "10-defaults.conf"))
    made(etc / "rabbitmq" / "conf.d" / "not-this.txt")
    assert chosen() == ([sooner, later], [], [])
    main = made(etc / "rabbitmq" / "rabbitmq.conf")
    assert files(None, {}, [], []) == [(main, Rank.FILE), (sooner, Rank.DROP_IN), (later, Rank.DROP_IN)]


def test_the_command_line_comes_before_the_environment(tmp_path: Path) -> None:
    one, two, three = (made(tmp_path / name) for name in ("1.conf", "2.conf", "3.conf"))
    both = {"AMQPD_CONFIG_FILE": str(two), "RABBITMQ_CONFIG_FILE": str(three)}
    assert chosen(str(one), **both) == ([one], [], [])
    assert chosen(None, **both) == ([two], [], [])
    assert chosen(RABBITMQ_CONFIG_FILE=str(three)) == ([three], [], [])
    assert chosen(RABBITMQ_CONFIG_FILE=str(tmp_path / "3")) == ([three], [], [])


def test_a_named_file_that_is_missing(tmp_path: Path) -> None:
    gone = tmp_path / "gone.conf"
    assert chosen(str(gone)) == ([], [f"command line: there is no configuration file {gone}"], [])
    problem = f"environment AMQPD_CONFIG_FILE: there is no configuration file {gone}"
    assert chosen(AMQPD_CONFIG_FILE=str(gone)) == ([], [problem], [])


def test_rabbitmqs_variable_may_name_a_file_that_is_missing(tmp_path: Path, etc: Path) -> None:
    main = made(etc / "rabbitmq" / "rabbitmq.conf")
    gone = tmp_path / "gone"
    warning = f"environment RABBITMQ_CONFIG_FILE: there is no configuration file {gone}; it is ignored"
    assert chosen(RABBITMQ_CONFIG_FILE=str(gone)) == ([main], [], [warning])


def test_further_files_by_variable(tmp_path: Path, etc: Path) -> None:
    made(etc / "rabbitmq" / "conf.d" / "10-not-this.conf")
    b, a = (made(tmp_path / "more" / name) for name in ("b.conf", "a.conf"))
    other = made(tmp_path / "more" / "c.other")
    assert chosen(RABBITMQ_CONFIG_FILES=str(tmp_path / "more")) == ([a, b], [], [])
    assert chosen(RABBITMQ_CONFIG_FILES=str(tmp_path / "more" / "*.other")) == ([other], [], [])
