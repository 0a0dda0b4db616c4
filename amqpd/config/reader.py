"""Configuration files in the syntax of rabbitmq.conf: finding them, and reading them into entries.

    file     = *line
    line     = [ key "=" value ] [ comment ]
    key      = word *( "." word )             word: letters, digits, _ and -, or a dot with a backslash before it
    value    = "'" any but ' "'" | any but #   spaces around it are not part of it
    comment  = "#" to the end of the line

`$(NAME)` in a value is the environment variable of that name. Of an entry that is there twice the last one holds.
Source: cuttlefish's conf_parse.peg; rabbitmq.com/docs/configure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

__all__ = ["Entry", "Rank", "files", "parse", "read"]

DIRECTORIES = (Path("/etc/amqpd/amqpd.conf"), Path("/etc/rabbitmq/rabbitmq.conf"))
"""Where a configuration is looked for that nobody named; the first with a file, or a conf.d beside it, is taken."""


class Rank(IntEnum):
    """How much a source of settings counts: the higher wins."""

    DEFAULT = 0
    FILE = 1
    DROP_IN = 2
    ENVIRONMENT = 3
    COMMAND_LINE = 4


class Entry(NamedTuple):
    """A key and its text as a source has them. `origin` says where, for messages."""

    key: str
    text: str
    origin: str
    rank: Rank


WORD = r"(?:[A-Za-z0-9_-]|\\\.)+"
LINE = re.compile(
    rf"(?P<key>{WORD}(?:\.{WORD})*)[ \t]*=[ \t]*(?:'(?P<quoted>[^']*)'[ \t]*|(?P<plain>[^'# \t][^#]*))?(?:#.*)?"
)
VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


def files(
    config_file: str | None, environ: Mapping[str, str], problems: list[str], warnings: list[str]
) -> list[tuple[Path, Rank]]:
    """The files to read, in order. What was named but does not exist is added to the problems or the warnings."""
    main = named(config_file, environ, problems, warnings)
    if main is None:
        main = next((path for path in DIRECTORIES if path.is_file() or drop_ins(path)), None)
    found = [(main, Rank.FILE)] if main is not None and main.is_file() else []
    more = environ.get("RABBITMQ_CONFIG_FILES")
    if more:
        extra = sorted(Path(more).glob("*.conf")) if Path(more).is_dir() else sorted(expand(more))
    else:
        extra = drop_ins(main) if main is not None else []
    return found + [(path, Rank.DROP_IN) for path in extra]


def named(config_file: str | None, environ: Mapping[str, str], problems: list[str], warnings: list[str]) -> Path | None:
    """The file that somebody asked for, if it exists."""
    wanted = config_file or environ.get("AMQPD_CONFIG_FILE")
    if wanted:
        if Path(wanted).is_file():
            return Path(wanted)
        origin = "command line" if config_file else "environment AMQPD_CONFIG_FILE"
        problems.append(f"{origin}: there is no configuration file {wanted}")
        return Path(wanted)
    wanted = environ.get("RABBITMQ_CONFIG_FILE")
    if wanted:
        for path in (Path(wanted), Path(f"{wanted}.conf")):
            if path.is_file():
                return path
        # RabbitMQ starts without it; images set this variable whether they have the file or not.
        warnings.append(f"environment RABBITMQ_CONFIG_FILE: there is no configuration file {wanted}; it is ignored")
    return None


def drop_ins(main: Path) -> list[Path]:
    """conf.d/*.conf beside this file, in the order of their names."""
    return sorted((main.parent / "conf.d").glob("*.conf"))


def expand(pattern: str) -> list[Path]:
    """The files of a path that may have wildcards in its last part."""
    path = Path(pattern)
    return [found for found in path.parent.glob(path.name) if found.is_file()]


def read(sources: Sequence[tuple[Path, Rank]], environ: Mapping[str, str], problems: list[str]) -> list[Entry]:
    """The entries of these files, in order."""
    entries: list[Entry] = []
    for path, rank in sources:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            problems.append(f"{path}:{line}: is not UTF-8")
        else:
            entries += parse(text, str(path), rank, environ, problems)
    return entries


def parse(text: str, name: str, rank: Rank, environ: Mapping[str, str], problems: list[str]) -> list[Entry]:
    """The entries of one file's text. `name` is the file's, for messages."""
    entries: list[Entry] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line, origin = raw.strip(), f"{name}:{number}"
        if not line or line.startswith("#"):
            continue
        found = LINE.fullmatch(line)
        if found is None:
            problems.append(f"{origin}: {complaint(line)}")
            continue
        key, value = found["key"], found["quoted"]
        if value is None:
            value = (found["plain"] or "").strip()
            if not value:
                problems.append(f"{origin}: {key}: has no value")
                continue
        missing = [variable for variable in VARIABLE.findall(value) if variable not in environ]
        problems += [f"{origin}: {key}: there is no environment variable {variable}" for variable in missing]
        if not missing:
            entries.append(Entry(key, VARIABLE.sub(lambda match: environ[match[1]], value), origin, rank))
    return entries


def complaint(line: str) -> str:
    """What is wrong with a line that does not parse."""
    key, equals, value = line.partition("=")
    if not equals or not re.fullmatch(rf"{WORD}(?:\.{WORD})*", key.strip()):
        return f"'{line}' is not of the form key = value"
    if value.count("'") == 1:
        return f"{key.strip()}: the quote is not closed"
    return f"{key.strip()}: there is something after the closing quote"
