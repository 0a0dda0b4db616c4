"""Twenty deaths under load, and not one confirmed message lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.run import CrashRun
from tests.support.broker import BrokerProcess

ROUNDS = 20
SEED = 20_260


@pytest.mark.timeout(300)
def test_no_confirmed_message_is_lost_when_the_broker_is_killed(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path, startup_timeout=60.0) as broker:
        run = CrashRun(broker, SEED, print)
        faults = run.execute(ROUNDS)
        print(run.figures)
    assert not faults, "\n".join(faults[:20])
    assert run.figures.rounds == ROUNDS
    assert run.figures.confirmed > 0
    assert run.figures.recovered > 0
