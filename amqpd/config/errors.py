"""What is wrong with a configuration: every problem of all its sources, said at once."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ConfigError"]


class ConfigError(Exception):
    """The configuration cannot be used. Each problem is one line that says where, which key, and what is the matter."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
