"""No test of the room looks into this machine's /etc."""

from __future__ import annotations

from pathlib import Path

import pytest

from amqpd.config import reader


@pytest.fixture(autouse=True)
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for /etc, empty at first."""
    root = tmp_path / "etc"
    places = (root / "amqpd" / "amqpd.conf", root / "rabbitmq" / "rabbitmq.conf")
    for place in places:
        (place.parent / "conf.d").mkdir(parents=True)
    monkeypatch.setattr(reader, "DIRECTORIES", places)
    return root
