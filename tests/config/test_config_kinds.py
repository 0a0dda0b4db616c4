"""Reading the types of settings."""

from __future__ import annotations

import pytest

from amqpd.config.kinds import (
    Choice,
    Duration,
    Endpoint,
    Flag,
    Fraction,
    Integer,
    Kind,
    Listener,
    LogFile,
    Regex,
    Size,
    Text,
)

NUMBER = Integer(0, 100)
LIMIT = Integer(1, 100, infinity=True)
SIZE = Size(10, 1 << 31, zero=True)
LIMITED = Size(0, 1 << 50, decimal=True)
TIME = Duration(1, 86_400_000)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (NUMBER, "0", 0),
        (NUMBER, "+7", 7),
        (NUMBER, "100", 100),
        (LIMIT, "infinity", None),
        (LIMIT, "5", 5),
        (SIZE, "0", 0),
        (SIZE, "10", 10),
        (SIZE, "128kB", 131072),
        (SIZE, "128 KB", 131072),
        (SIZE, "128k", 131072),
        (SIZE, "50MB", 50 << 20),
        (SIZE, "16MiB", 16 << 20),
        (SIZE, "1.5gb", 3 << 29),
        (SIZE, "512b", 512),
        (LIMITED, "50MB", 50_000_000),
        (LIMITED, "2 gb", 2_000_000_000),
        (LIMITED, "50MiB", 50 << 20),
        (LIMITED, "50M", 50 << 20),
        (LIMITED, "0", 0),
        (Fraction(0, 1), "0.6", 0.6),
        (Fraction(0, 1), "1", 1.0),
        (Fraction(0, 1), "1.0e-9", 1e-9),
        (TIME, "10000", 10_000),
        (TIME, "10s", 10_000),
        (TIME, "5m", 300_000),
        (TIME, "2h", 7_200_000),
        (TIME, "30 ms", 30),
        (Flag(), "true", True),
        (Flag(), "on", True),
        (Flag(), "false", False),
        (Flag(), "off", False),
        (Text(), "a b", "a b"),
        (Text(empty=True), "", ""),
        (Choice(("json", "plaintext"), {"text": "plaintext"}), "text", "plaintext"),
        (Choice(("json", "plaintext"), {"text": "plaintext"}), "json", "json"),
        (Regex(), "^(a|b)[[:alpha:]]\\z", "^(a|b)[[:alpha:]]\\z"),
        (Regex(), "", ""),
        (Endpoint(), "5672", Listener(None, 5672)),
        (Endpoint(), "0", Listener(None, 0)),
        (Endpoint(), "127.0.0.1:5672", Listener("127.0.0.1", 5672)),
        (Endpoint(), "::1:5672", Listener("::1", 5672)),
        (Endpoint(), "[::1]:5672", Listener("::1", 5672)),
        (LogFile(), "false", None),
        (LogFile(), "rabbit.log", "rabbit.log"),
    ],
)
def test_what_is_read(kind: Kind, text: str, value: object) -> None:
    assert kind.read(text) == value
    assert type(kind.read(text)) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "clause"),
    [
        (NUMBER, "ten", "is not an integer"),
        (NUMBER, "1.5", "is not an integer"),
        (NUMBER, "\u0661", "is not an integer"),
        (NUMBER, "101", "is out of range: 0 to 100 is possible"),
        (NUMBER, "-1", "is out of range: 0 to 100 is possible"),
        (NUMBER, "infinity", "is not an integer"),
        (LIMIT, "lots", "is not an integer or infinity"),
        (LIMIT, "0", "is out of range: 1 to 100 is possible"),
        (SIZE, "12 parsecs", "is not a size, such as 131072, 128kB or 16MiB"),
        (LIMITED, "2XB", "is not a size, such as 131072, 128kB or 16MiB"),
        (Fraction(0, 1), "1.1", "is out of range: 0 to 1 is possible"),
        (Fraction(0, 1), "-0.1", "is out of range: 0 to 1 is possible"),
        (Fraction(0, 1), "60%", "is not a number, such as 0.6"),
        (Fraction(0, 1), "nan", "is not a number, such as 0.6"),
        (SIZE, "9", "is out of range: 0 or 10 to 2147483648 is possible"),
        (Size(10, 20), "0", "is out of range: 10 to 20 is possible"),
        (TIME, "1 fortnight", "is not a duration, such as 10000, 10s or 5m"),
        (TIME, "25h", "is out of range: 1 to 86400000 is possible"),
        (Flag(), "maybe", "is neither true nor false"),
        (Text(), "", "is empty"),
        (Choice(("a", "b", "c")), "d", "is not possible; it can be a, b or c"),
        (Choice(("none",)), "some", "is not possible; it can be none"),
        (Regex(), "(", "is not a regular expression: missing ), unterminated subpattern at position 0"),
        (Endpoint(), "amqp", "is neither a port nor an IP address:port"),
        (Endpoint(), "localhost:5672", "has no IP address before the port: 'localhost'"),
        (Endpoint(), "65536", "is out of range: 0 to 65535 is possible"),
        (LogFile(), "true", "is neither a file name nor false"),
    ],
)
def test_what_is_refused(kind: Kind, text: str, clause: str) -> None:
    with pytest.raises(ValueError) as caught:
        kind.read(text)
    assert str(caught.value) == clause
