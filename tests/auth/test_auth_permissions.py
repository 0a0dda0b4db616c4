"""Patterns mean what they mean to RabbitMQ, or are refused."""

from __future__ import annotations

import pytest

from amqpd.auth.permissions import compile_pattern
from amqpd.errors import PreconditionFailed


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        (".*", "anything", True),
        (".*", "", True),
        ("", "", True),
        ("", "a", False),
        ("^$", "a", False),
        ("b", "abc", True),
        ("^b", "abc", False),
        ("^(amq.default|mine-.*)$", "amq.default", True),
        ("^(amq.default|mine-.*)$", "mine-1", True),
        ("^(amq.default|mine-.*)$", "not-mine-1", False),
        (r"^\w+$", "straße", False),
        (r"^[[:alpha:]]+$", "abc", True),
        (r"^[[:alpha:]]+$", "ab1", False),
        (r"^[[:alpha:]]+$", "ab]", False),
        (r"^[[:alnum:]_.-]+$", "a-1_b.c", True),
        (r"^[^[:digit:]]+$", "a1", False),
        (r"^[[:punct:]]+$", "!-[]{}~\\", True),
        (r"^[[:punct:]]+$", "!a", False),
        (r"^[]a]+$", "]a", True),
        (r"^[[a]+$", "[a", True),
        (r"^[a&&b]+$", "a&b", True),
        (r"^[\[:alpha:]+$", "[:alph", True),
        (r"^[\[:alpha:]+$", "z", False),
        (r"\Aab\z", "ab", True),
        (r"\Aab\z", "abc", False),
        (r"\\z", "z", False),
        (r"\\z", "\\z", True),
        (r"\.q\.[a-f0-9]++$", "x.q.0f", True),
    ],
)
def test_search(pattern: str, name: str, found: bool) -> None:
    assert (compile_pattern(pattern).search(name) is not None) is found


@pytest.mark.parametrize(
    "pattern",
    [
        *("*", "(", "[", "a**", "\\", "(" * 50000, "a{99999999999999999999}"),
        *("[[:alpha:]", "[:alpha:]", "[[:^alpha:]]", "[[:nonsense:]]"),
        *(r"\p{L}", "(?u)a", "a(?i)b", "(?R)", "(*FAIL)"),
    ],
)
def test_what_does_not_compile_is_refused(pattern: str) -> None:
    with pytest.raises(PreconditionFailed, match="invalid regular expression") as caught:
        compile_pattern(pattern)
    assert caught.value.http_status == 400


def test_a_pattern_is_compiled_once() -> None:
    assert compile_pattern("^once$") is compile_pattern("^once$")
