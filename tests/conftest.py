"""Fixtures for all tests."""

from __future__ import annotations

import pytest

from tests.support.world import World


@pytest.fixture
def world() -> World:
    """A broker in memory."""
    return World()
