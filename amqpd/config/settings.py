"""The settings of a node: every source read, checked and laid over the others.

    default  <  file  <  conf.d/*.conf  <  environment  <  command line        the rightmost that sets a key wins

`load` gives Settings or raises ConfigError with all that is wrong. To reload, load again with the same arguments and
ask `changes` what is different.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from amqpd.config import env, reader
from amqpd.config.checks import CHECKS
from amqpd.config.errors import ConfigError
from amqpd.config.kinds import Listener, Value
from amqpd.config.known import KNOWN, known
from amqpd.config.reader import Entry, Rank
from amqpd.config.schema import BY_NAME, KEYS, LEVELS, Key, find, split

__all__ = ["Changes", "Settings", "load"]

MASK = "********"


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of one key, the text that it was read from, and where that stands."""

    key: Key
    value: Value
    text: str
    origin: str
    rank: Rank


class Changes(NamedTuple):
    """The keys that differ between two configurations: those taken up at once, and those that need a restart."""

    reloadable: tuple[str, ...]
    restart: tuple[str, ...]


class Settings:
    """What holds. Immutable; asking for a key that the schema lacks, or as another type than its own, is a KeyError."""

    __slots__ = ("_found", "_home", "files", "warnings")

    def __init__(
        self,
        found: Mapping[str, Setting],
        environ: Mapping[str, str],
        files: tuple[str, ...],
        warnings: tuple[str, ...],
    ) -> None:
        self._found = dict(found)
        self._home = default_data_dir(environ)
        self.files = files
        """The files that were read, in order."""
        self.warnings = warnings
        """What was ignored, and why; one line each."""

    # One key.

    def integer(self, name: str) -> int:
        """The number of a key that always has one: an integer, a size in octets, a duration in milliseconds."""
        value = self.limit(name)
        if value is None:
            raise KeyError(f"{name} can be without a number")
        return value

    def limit(self, name: str) -> int | None:
        """The number of a key that can be `infinity`, or that has no default and is not set: then None."""
        if not self.is_set(name) and BY_NAME[canonical(name)].default is None:
            return None
        value = self._setting(name).value
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise KeyError(f"{name} is not a number")

    def threshold(self, family: str) -> tuple[int | None, float | None]:
        """A limit that is set in octets (`FAMILY.absolute`) or as a fraction (`FAMILY.relative`): one of the two.

        What counts more holds, and of two that count the same the octets.
        """
        octets, fraction = f"{family}.absolute", f"{family}.relative"
        given = self.is_set(octets) or BY_NAME[octets].default is not None
        if given and self.rank(octets) >= self.rank(fraction):
            return self.integer(octets), None
        value = self._setting(fraction).value
        if not isinstance(value, float):
            raise KeyError(f"{fraction} is not a fraction")
        return None, value

    def flag(self, name: str) -> bool:
        """Whether a key that is true or false is true."""
        value = self._setting(name).value
        if not isinstance(value, bool):
            raise KeyError(f"{name} is not a flag")
        return value

    def text(self, name: str) -> str:
        """The text of a key that has one; empty when it is not set and has no default."""
        if not self.is_set(name) and BY_NAME[name].default is None:
            return ""
        value = self._setting(name).value
        if not isinstance(value, str):
            raise KeyError(f"{name} is not a text")
        return value

    def is_set(self, name: str) -> bool:
        """Whether some source sets this key."""
        return self.rank(name) is not Rank.DEFAULT

    def origin(self, name: str) -> str:
        """Where the value comes from: `default`, `FILE:LINE`, `environment NAME`, `command line`."""
        found = self._found.get(canonical(name))
        return found.origin if found is not None else "default"

    def rank(self, name: str) -> Rank:
        """How much the source of the value counts."""
        found = self._found.get(canonical(name))
        return found.rank if found is not None else Rank.DEFAULT

    # Keys that are lists, and values that are worked out.

    @property
    def listeners(self) -> list[Listener]:
        """Where to accept AMQP connections."""
        return list(self.opened().values())

    def opened(self) -> dict[str, Listener]:
        """The listeners by their keys."""
        return {
            name: setting.value
            for name, setting in self._members("listeners.tcp").items()
            if isinstance(setting.value, Listener)
        }

    @property
    def loopback_users(self) -> frozenset[str]:
        """The users who can only log in from this machine."""
        return frozenset(self._true_words("loopback_users"))

    @property
    def default_user_tags(self) -> tuple[str, ...]:
        """The tags of the first user."""
        return tuple(self._true_words("default_user_tags"))

    def groups(self, family: str) -> dict[str, dict[str, Value]]:
        """The keys FAMILY.WORD.FIELD: word -> field -> value. Words that are numbers come first, in their order."""
        found: dict[str, dict[str, Value]] = {}
        for name, setting in self._members(family).items():
            word, field = split(name)[-2:]
            found.setdefault(word, {})[field] = setting.value
        return dict(sorted(found.items(), key=lambda member: order(member[0])))

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms, in the order in which they are offered."""
        return tuple(dict.fromkeys(str(setting.value) for setting in self._members("auth_mechanisms").values()))

    @property
    def data_dir(self) -> Path:
        """The directory of everything durable."""
        return Path(self.text("data_dir")).expanduser() if self.is_set("data_dir") else self._home

    @property
    def definitions(self) -> Path | None:
        """What is to be imported at a start, if anything."""
        for name in ("load_definitions", "definitions.local.path"):
            if self.is_set(name):
                return Path(self.text(name)).expanduser()
        return None

    def log_dir(self) -> Path:
        """The directory of log files that are named without one."""
        return Path(self.text("log.dir")).expanduser() if self.is_set("log.dir") else self.data_dir / "log"

    def log_file(self) -> Path | None:
        """The file to log to, if any."""
        name = self._setting("log.file").value
        return self.log_dir() / Path(str(name)).expanduser() if name is not None else None

    def log_level(self, output: str, category: str) -> int:
        """The least level, on logging's scale, of a category (or `default`) that an output (console, file) writes.

        Of what is set for the output and for the category the stricter holds; with neither it is log.default.level.
        """
        names = [f"log.{output}.level", f"log.{category}.level"]
        if not self.is_set(names[1]):
            names[1] = "log.default.level"
        given = [name for name in names if self.is_set(name)] or ["log.default.level"]
        return max(LEVELS[self.text(name)] for name in given)

    def effective(self) -> list[tuple[str, str, str]]:
        """Every key that has a value: its name, the value as a file has it, its origin. Secrets are masked."""
        return [(name, MASK if key.secret else text, self.origin(name)) for name, text, key in self.values()]

    def values(self) -> Iterator[tuple[str, str, Key]]:
        """Every key that has a value, in the order of the schema, with its text."""
        worked_out = {"data_dir": self.data_dir, "log.dir": self.log_dir()}
        families: set[str] = set()
        for key in KEYS:
            if key.family:
                if key.family not in families:
                    families.add(key.family)
                    for name, setting in self._members(key.family).items():
                        yield name, setting.text, setting.key
            elif key.name in self._found:
                yield key.name, self._found[key.name].text, key
            elif key.name in worked_out:
                yield key.name, str(worked_out[key.name]), key
            elif key.default is not None:
                yield key.name, key.default, key

    def changes(self, fresh: Settings) -> Changes:
        """Which keys have another value in `fresh`, or none any more, or one for the first time."""
        before = {name: (text, key) for name, text, key in self.values()}
        after = {name: (text, key) for name, text, key in fresh.values()}
        different = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        reloadable = {name for name in different if (after.get(name) or before[name])[1].reloadable}
        return Changes(
            tuple(name for name in different if name in reloadable),
            tuple(name for name in different if name not in reloadable),
        )

    # Inside.

    def _setting(self, name: str) -> Setting:
        name = canonical(name)
        return self._found[name] if name in self._found else DEFAULTS[name]

    def _members(self, family: str) -> dict[str, Setting]:
        """The settings of a family, in the order of their last words: those that are set, else its default.

        `family = none` hides what comes from the same kind of source, or one that counts less.
        """
        members = {name: it for name, it in self._found.items() if it.key.family == family}
        none = self._found.get(family)
        if none is not None:
            members = {name: it for name, it in members.items() if it.rank > none.rank}
        elif not members:
            members = {name: it for name, it in DEFAULTS.items() if it.key.family == family}
        return dict(sorted(members.items(), key=lambda member: order(member[0])))

    def _true_words(self, family: str) -> list[str]:
        return [split(name)[-1] for name, setting in self._members(family).items() if setting.value is True]


def order(name: str) -> tuple[bool, int, str]:
    """Numbers by their value, before words."""
    word = split(name)[-1]
    number = word.isascii() and word.isdigit()
    return (not number, int(word) if number else 0, word)


def canonical(name: str) -> str:
    """The name under which a key is kept: never an alias."""
    key = BY_NAME.get(name)
    return key.name if key is not None else name


DEFAULTS = {
    key.name: Setting(key, key.kind.read(key.default), key.default, "default", Rank.DEFAULT)
    for key in KEYS
    if key.default is not None
}


def load(config_file: str | None, overrides: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """The settings out of the files, the environment and the command line's overrides. Raises ConfigError."""
    problems: list[str] = []
    warnings: list[str] = []
    sources = reader.files(config_file, environ, problems, warnings)
    entries = reader.read(sources, environ, problems)
    entries += env.read(environ, warnings)
    entries += [Entry(name, text, "command line", Rank.COMMAND_LINE) for name, text in overrides.items()]
    found: dict[str, Setting] = {}
    wrong: set[str] = set()
    for entry in entries:
        take(entry, found, wrong, problems, warnings)
    settings = Settings(found, environ, tuple(str(path) for path, _ in sources), tuple(warnings))
    for keys, check in CHECKS:
        if not any(name.startswith(keys) for name in wrong):
            problems += check(settings)
    if problems:
        raise ConfigError(problems)
    return settings


def take(entry: Entry, found: dict[str, Setting], wrong: set[str], problems: list[str], warnings: list[str]) -> None:
    """Put one entry over what has been found so far, or say what is the matter with it."""
    key = find(entry.key)
    if key is None:
        if known(entry.key):
            warnings.append(
                f"{entry.origin}: {entry.key}: is a rabbitmq.conf key that amqpd does not support yet; it is ignored"
            )
        else:
            problems.append(f"{entry.origin}: {entry.key}: is not a known key{suggestion(entry.key)}")
        return
    name = canonical(entry.key)
    if key.secret and entry.text.startswith("encrypted:"):
        problems.append(f"{entry.origin}: {entry.key}: encrypted values are not supported")
        return
    try:
        value = key.kind.read(entry.text)
    except ValueError as error:
        problems.append(f"{entry.origin}: {entry.key}: '{entry.text}' {error}")
        wrong.add(name)
        return
    found[name] = Setting(key, value, entry.text, entry.origin, entry.rank)


def suggestion(name: str) -> str:
    """The key that was perhaps meant, as the end of a message."""
    near = difflib.get_close_matches(name, [*BY_NAME, *KNOWN], n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Where data is kept when nobody says: the system's place for root, else the user's."""
    # Windows has no users by number.
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/amqpd")
    base = environ.get("XDG_DATA_HOME", "")
    # The XDG specification has relative paths ignored.
    if os.path.isabs(base):
        return Path(base) / "amqpd"
    return Path(environ.get("HOME") or Path.home()) / ".local" / "share" / "amqpd"
