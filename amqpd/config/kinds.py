"""The types a setting can have: how each is read from the text of a configuration file.

`read` raises ValueError with a clause that follows the offending text in a message: `'abc' is not an integer`.

Units of size are those of cuttlefish, which RabbitMQ reads frame_max with: kB, MB and GB are powers of 1024, like kiB,
MiB and GiB. Limits of memory and disk it reads with another function, for which kB, MB and GB are powers of 1000.
Source: cuttlefish_bytesize, cuttlefish_duration; RabbitMQ's rabbit.schema, rabbit_resource_monitor_misc.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

__all__ = [
    "Choice",
    "Duration",
    "Endpoint",
    "Flag",
    "Fraction",
    "Integer",
    "Kind",
    "Listener",
    "LogFile",
    "Regex",
    "Size",
    "Text",
    "Value",
]


class Listener(NamedTuple):
    """Where to accept connections. No host is every address of the machine; port 0 lets the system choose."""

    host: str | None
    port: int


Value: TypeAlias = int | float | str | Listener | None
"""A flag is the int that bool is. None: no limit, or switched off."""

INFINITY = "infinity"


class Kind(Protocol):
    """A type of setting. `expects` describes it for the example file."""

    @property
    def expects(self) -> str: ...

    def read(self, text: str) -> Value: ...


N = TypeVar("N", int, float)


def bounded(number: N, low: int, high: int, zero: bool) -> N:
    """The number, if it lies within the range, or is the 0 that means no limit. Raises ValueError."""
    if not (low <= number <= high or (zero and number == 0)):
        exception = "0 or " if zero else ""
        raise ValueError(f"is out of range: {exception}{low} to {high} is possible")
    return number


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number. With `infinity` that word is a value, read as None."""

    low: int
    high: int
    infinity: bool = False

    @property
    def expects(self) -> str:
        return f"integer, {self.low} to {self.high}" + (", or infinity" if self.infinity else "")

    def read(self, text: str) -> int | None:
        if self.infinity and text == INFINITY:
            return None
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise ValueError("is not an integer" + (" or infinity" if self.infinity else ""))
        return bounded(int(text), self.low, self.high, zero=False)


@dataclass(frozen=True, slots=True)
class Fraction:
    """A part of something."""

    low: int
    high: int

    @property
    def expects(self) -> str:
        return f"fraction, {self.low} to {self.high}"

    def read(self, text: str) -> float:
        if not re.fullmatch(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", text):
            raise ValueError("is not a number, such as 0.6")
        return bounded(float(text), self.low, self.high, zero=False)


UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
DECIMAL_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Size:
    """A number of octets. With `zero`, 0 is possible below the range: no limit. With `decimal`, a MB is 1000 kB."""

    low: int
    high: int
    zero: bool = False
    decimal: bool = False

    @property
    def expects(self) -> str:
        exception = "0 for no limit, or " if self.zero else ""
        units = "kB, MB, GB of 1000s, or kiB, MiB, GiB" if self.decimal else "kB, MB, GB, kiB, MiB, GiB"
        return f"size in bytes or with a unit ({units}), {exception}{self.low} to {self.high}"

    def read(self, text: str) -> int:
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *(?:([kmg])(i?b)?|b)?", text, re.IGNORECASE)
        if found is None:
            raise ValueError("is not a size, such as 131072, 128kB or 16MiB")
        number = float(found[1]) if "." in found[1] else int(found[1])
        units = DECIMAL_UNITS if self.decimal and (found[3] or "").lower() == "b" else UNITS
        return bounded(int(number * units[(found[2] or "").lower()]), self.low, self.high, self.zero)


MILLISECONDS = {"": 1, "ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


@dataclass(frozen=True, slots=True)
class Duration:
    """A time in milliseconds."""

    low: int
    high: int

    @property
    def expects(self) -> str:
        return f"milliseconds or with a unit (ms, s, m, h), {self.low} to {self.high} ms"

    def read(self, text: str) -> int:
        found = re.fullmatch(r"([0-9]+) *(ms|s|m|h)?", text)
        if found is None:
            raise ValueError("is not a duration, such as 10000, 10s or 5m")
        return bounded(int(found[1]) * MILLISECONDS[found[2] or ""], self.low, self.high, zero=False)


@dataclass(frozen=True, slots=True)
class Flag:
    """A yes or no."""

    expects: str = "true or false"

    def read(self, text: str) -> bool:
        if text not in ("true", "on", "false", "off"):
            raise ValueError("is neither true nor false")
        return text in ("true", "on")


@dataclass(frozen=True, slots=True)
class Text:
    """Any text but none at all; `empty` permits that too."""

    expects: str = "text"
    empty: bool = False

    def read(self, text: str) -> str:
        if not text and not self.empty:
            raise ValueError("is empty")
        return text


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words; `synonyms` are read as the word they stand for."""

    words: tuple[str, ...]
    synonyms: Mapping[str, str] = field(default_factory=dict)

    @property
    def expects(self) -> str:
        return " or ".join([", ".join(self.words[:-1]), self.words[-1]]) if len(self.words) > 1 else self.words[0]

    def read(self, text: str) -> str:
        word = self.synonyms.get(text, text)
        if word not in self.words:
            raise ValueError(f"is not possible; it can be {self.expects}")
        return word


@dataclass(frozen=True, slots=True)
class Regex:
    """A pattern over names, as permissions have them; it stays text."""

    expects: str = "regular expression"

    def read(self, text: str) -> str:
        try:
            with warnings.catch_warnings():
                # POSIX classes, which are good in a permission, make `re` warn.
                warnings.simplefilter("ignore", FutureWarning)
                # \z is PCRE's name of \Z; `re` knows it only since Python 3.14.
                re.compile(text.replace(r"\z", r"\Z"))
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from None
        return text


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen: a port, or an address and a port."""

    expects: str = "port, or IP address:port"

    def read(self, text: str) -> Listener:
        host, colon, port = text.rpartition(":")
        if not re.fullmatch(r"[0-9]+", port):
            raise ValueError("is neither a port nor an IP address:port")
        address = None
        if colon:
            try:
                address = str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
            except ValueError:
                raise ValueError(f"has no IP address before the port: '{host}'") from None
        return Listener(address, bounded(int(port), 0, 65535, zero=False))


@dataclass(frozen=True, slots=True)
class LogFile:
    """The name of a log file, or false for none."""

    expects: str = "file name, or false"

    def read(self, text: str) -> str | None:
        if text in ("true", "on", ""):
            raise ValueError("is neither a file name nor false")
        return None if text in ("false", "off") else text
