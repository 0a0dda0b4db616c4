"""Regular expressions as RabbitMQ's users write them (permissions, policies), compiled with Python's `re`.

A pattern is searched for anywhere in a name, not anchored. RabbitMQ matches with PCRE. Where the two differ:

    [[:alpha:]]             POSIX classes are rewritten: `re` would read something else. Negated, they are refused
    \\z                      rewritten to \\Z, which is what it means
    \\h \\R \\K \\Q..\\E \\p{L}   refused, as are (?<name>..), (?|..), recursion, verbs and (?i) after the start
    {,3}                    "at most three" here, these four characters there
    names beyond ASCII      one character per character here, one per octet of UTF-8 there; \\w, \\d, \\s and (?i) know
                            only ASCII in both
    backtracking            not limited here: who may set a pattern can write one that takes for ever

What is refused is refused when it is set, never found out when a name is looked at.
Source: pcrepattern(3); Erlang's re module.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

from amqpd.errors import PreconditionFailed

__all__ = ["compile_pattern"]

COMPILED_MAX = 4096

ITEMS = re.compile(
    r"""\\.                       # an escape
      | \[\^?\]?                  # or a whole bracket expression; a leading ] is an item of it
        (?: \[:\^?\w*:\] | \\. | \[(?!:\^?\w*:\]) | [^\[\]\\] )*
        \]""",
    re.DOTALL | re.VERBOSE,
)
CLASS_ITEMS = re.compile(r"\\.|\[:(\^?\w*):\]", re.DOTALL)

POSIX = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "xdigit": "0-9a-fA-F",
    "word": r"\w",
    "space": r"\s",
    "blank": r" \t",
    "punct": r"!-/:-@\[-`{-~",
    "cntrl": r"\x00-\x1f\x7f",
    "graph": r"\x21-\x7e",
    "print": r"\x20-\x7e",
    "ascii": r"\x00-\x7f",
}
"""POSIX class name -> the same inside a bracket expression of `re`."""


@lru_cache(COMPILED_MAX)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The pattern, ready to search with. Raises PreconditionFailed when it is no regular expression that works here."""
    try:
        translated = ITEMS.sub(translate, pattern)
        with warnings.catch_warnings():
            # `re` warns of [[ and && in a bracket expression, which it may read otherwise one day; now it reads them
            # as PCRE does.
            warnings.simplefilter("ignore", FutureWarning)
            return re.compile(translated, re.ASCII)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise PreconditionFailed(f"invalid regular expression '{pattern}': {error}") from None


def translate(item: re.Match[str]) -> str:
    """An escape or bracket expression of PCRE as `re` writes it. Raises ValueError for what it cannot write."""
    found = item[0]
    if found[0] == "\\":
        return r"\Z" if found == r"\z" else found
    if CLASS_ITEMS.fullmatch(found):
        raise ValueError(f"{found} stands outside of a bracket expression")
    return CLASS_ITEMS.sub(translate_class, found)


def translate_class(item: re.Match[str]) -> str:
    name: str | None = item[1]
    if name is None:
        return item[0]
    if name not in POSIX:
        raise ValueError(f"unsupported class [:{name}:]")
    return POSIX[name]
