"""The settings of a node: defaults, file, environment and command line put together, each with its origin.

The command line counts over the environment, that over conf.d, that over the file, that over the defaults.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from amqpd.config import env
from amqpd.config.errors import ConfigError
from amqpd.config.known import KNOWN
from amqpd.config.reader import Entry, read_files
from amqpd.config.schema import ALIASES, SCHEMA, Key
from amqpd.config.values import Listener, Value

__all__ = ["Setting", "Settings", "default_data_dir", "example", "load"]

KEYS = {key.name: key for keys in SCHEMA.values() for key in keys}
DEFAULT_FILES = ("/etc/amqpd/amqpd.conf", "/etc/rabbitmq/rabbitmq.conf")
SECRET = frozenset({"default_pass"})


class Setting(NamedTuple):
    """One value and where it came from."""

    value: Value
    text: str
    origin: str


def pattern(name: str) -> re.Pattern[str]:
    """A key's name as a regular expression: `$x` for one part, `$*` for any."""
    parts = [
        ".+" if part == "$*" else r"[^.]+" if part.startswith("$") else re.escape(part) for part in name.split(".")
    ]
    return re.compile(r"\.".join(parts))


WILD = [(pattern(name), key) for name, key in KEYS.items() if "$" in name]
IGNORED = [pattern(name) for name in KNOWN]


def find_key(name: str) -> Key | None:
    """The table's entry for a key as a user writes it."""
    key = KEYS.get(name)
    if key is not None:
        return key
    return next((key for matcher, key in WILD if matcher.fullmatch(name)), None)


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Where durable things are kept when nothing says so."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/amqpd")
    base = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "amqpd"


class Settings:
    """What is in force. `explicit` holds what somebody said, by key; the rest is the table's defaults."""

    def __init__(self, explicit: Mapping[str, Setting], warnings: Sequence[str], environ: Mapping[str, str]) -> None:
        self.explicit = dict(explicit)
        self.warnings = list(warnings)
        self.data_dir = Path(self.text("data_dir") or default_data_dir(environ)).expanduser()

    def find(self, name: str) -> Setting:
        """The value of a key of the table, given or default."""
        found = self.explicit.get(name)
        if found is not None:
            return found
        key = KEYS[name]
        if key.default is None:
            return Setting(None, "", "default")
        return Setting(key.parse(key.default), key.default, "default")

    def text(self, name: str) -> str:
        """A text; empty when unset."""
        value = self.find(name).value
        return "" if value is None else str(value)

    def integer(self, name: str) -> int:
        """A number."""
        value = self.find(name).value
        assert isinstance(value, int)
        return value

    def limit(self, name: str) -> int | None:
        """A number, or None for no limit."""
        value = self.find(name).value
        assert value is None or isinstance(value, int)
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        return self.find(name).value is True

    def group(self, prefix: str) -> dict[str, Value]:
        """What was said for the keys below a prefix: last part -> value."""
        start = prefix + "."
        return {name[len(start) :]: found.value for name, found in self.explicit.items() if name.startswith(start)}

    # ----------------------------------------------------------------------------------- put together

    @property
    def listeners(self) -> list[Listener]:
        """Where to listen for AMQP."""
        if self.text("listeners.tcp") == "none":
            return []
        given = [value for value in self.group("listeners.tcp").values() if isinstance(value, tuple)]
        return given or [(None, 5672)]

    @property
    def mechanisms(self) -> list[str]:
        """Mechanisms to offer, in order."""
        given = sorted(self.group("auth_mechanisms").items(), key=lambda item: (len(item[0]), item[0]))
        return [str(value) for _, value in given] or ["PLAIN", "AMQPLAIN"]

    @property
    def loopback_users(self) -> frozenset[str]:
        """Users that may only log in from this machine."""
        if self.text("loopback_users") == "none":
            return frozenset()
        given = self.group("loopback_users")
        bound = {name for name, value in given.items() if value is True}
        return frozenset(bound if given.get("guest") is False else bound | {"guest"})

    @property
    def default_user_tags(self) -> list[str]:
        """Tags of the user that a first start creates."""
        given = self.group("default_user_tags")
        return [tag for tag, value in given.items() if value is True] if given else ["administrator"]

    def effective(self) -> list[tuple[str, str, str]]:
        """Every setting in force: key, text (secrets hidden), origin."""
        rows: list[tuple[str, str, str]] = []
        for name in KEYS:
            if "$" not in name:
                found = self.find(name)
                text = str(self.data_dir) if name == "data_dir" else found.text
                if text:
                    rows.append((name, "********" if name in SECRET else text, found.origin))
        rows += [(name, found.text, found.origin) for name, found in self.explicit.items() if name not in KEYS]
        return sorted(rows)

    def changes(self, other: Settings) -> tuple[list[str], list[str]]:
        """The keys in which `other` differs: those that can be reloaded, and those that need a restart."""
        names = [
            name
            for name in {*KEYS, *self.explicit, *other.explicit}
            if (name in self.explicit or name in other.explicit) and self.value(name) != other.value(name)
        ]
        reloadable = [name for name in names if (key := find_key(name)) is not None and key.reloadable]
        return sorted(reloadable), sorted(set(names) - set(reloadable))

    def value(self, name: str) -> Value:
        if name in self.explicit or name in KEYS:
            return self.find(name).value
        return None


# -------------------------------------------------------------------------------------------------- loading


def load(config_file: str | None, overrides: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """The settings from all sources. `overrides` are those of the command line. Raises ConfigError."""
    entries: list[Entry] = []
    path = config_path(config_file, environ)
    if path is not None:
        entries += read_files(path, environ)
    entries += env.entries(environ)
    entries += [Entry(key, text, "command line") for key, text in overrides.items()]
    explicit: dict[str, Setting] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for entry in entries:
        take(entry, explicit, problems, warnings)
    settings = Settings(explicit, warnings, environ)
    if not problems:
        check_together(settings, problems)
    if problems:
        raise ConfigError(problems)
    return settings


def config_path(config_file: str | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: the one that is named, which has to be there, or a default one if it is there."""
    named = config_file or next((environ[name] for name in env.CONFIG_FILE_VARIABLES if environ.get(name)), None)
    if named is not None:
        path = Path(named)
        with_suffix = Path(f"{named}.conf")
        return with_suffix if not path.exists() and with_suffix.exists() else path
    return next((path for path in map(Path, DEFAULT_FILES) if path.exists()), None)


def take(entry: Entry, explicit: dict[str, Setting], problems: list[str], warnings: list[str]) -> None:
    """One entry: into `explicit`, or a problem, or a warning."""
    name = ALIASES.get(entry.key, entry.key)
    key = find_key(name)
    if key is not None:
        try:
            value = key.parse(entry.text)
        except ValueError as error:
            problems.append(f"{entry.origin}: {entry.key} = {entry.text}: {error}")
        else:
            explicit[name] = Setting(value, entry.text, entry.origin)
    elif any(matcher.fullmatch(entry.key) for matcher in IGNORED):
        warnings.append(f"{entry.origin}: {entry.key} is a rabbitmq.conf key that is not supported yet; it is ignored")
    else:
        near = get_close_matches(entry.key, [*KEYS, *ALIASES, *KNOWN], 1, 0.0)
        problems.append(f"{entry.origin}: there is no key {entry.key}; the nearest is {near[0]}")


def check_together(settings: Settings, problems: list[str]) -> None:
    """Values that are fine alone and impossible together."""
    frame_max = settings.integer("frame_max")
    origin = settings.find("frame_max").origin
    if 0 < frame_max < 4096:
        problems.append(f"{origin}: frame_max = {frame_max}: AMQP asks for at least 4096, or 0 for no limit")
    elif 0 < frame_max < settings.integer("initial_frame_max"):
        problems.append(f"{origin}: frame_max = {frame_max}: is smaller than initial_frame_max")
    seen: dict[Listener, str] = {}
    for name, value in settings.group("listeners.tcp").items():
        if isinstance(value, tuple) and value[1]:
            if value in seen:
                found = settings.explicit[f"listeners.tcp.{name}"]
                problems.append(
                    f"{found.origin}: listeners.tcp.{name} = {found.text}: is also listeners.tcp.{seen[value]}"
                )
            seen[value] = name


def example() -> str:
    """The example file: every key of the table, commented out, with its default and what it means."""
    lines = [
        "# amqpd.conf: every setting, with its default. The syntax is that of rabbitmq.conf.",
        "# Environment variables say the same: AMQPD_ and the key in capitals, two underscores for a dot.",
        "# [reload]: a SIGHUP makes a new value count, for connections that are opened afterwards.",
    ]
    for title, keys in SCHEMA.items():
        lines += ["", f"## {title}", ""]
        for key in keys:
            lines.append(f"# {key.doc}{' [reload]' if key.reloadable else ''}")
            lines += [f"# {key.name} = {key.default if key.default is not None else EXAMPLES[key.name]}", ""]
        lines.pop()
    return "\n".join(lines) + "\n"


EXAMPLES = {
    "listeners.tcp": "none",
    "listeners.tcp.$name": "127.0.0.1:5672",
    "default_user_tags.$tag": "true",
    "loopback_users": "none",
    "loopback_users.$user": "true",
    "auth_mechanisms.$n": "PLAIN",
    "cluster_name": "amqpd@myhost",
    "data_dir": "/var/lib/amqpd",
}
"""What the example file shows for keys without a default."""
