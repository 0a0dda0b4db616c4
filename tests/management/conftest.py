"""A broker whose control socket is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control import Controlled


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Controlled]:
    with Controlled(tmp_path) as controlled:
        yield controlled
