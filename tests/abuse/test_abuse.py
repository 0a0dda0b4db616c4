"""Ten thousand spoiled conversations: each ends as it should, the neighbour feels little, nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.abuse.kinds import KINDS, conversation
from tests.abuse.run import AbuseRun
from tests.support.broker import BrokerProcess

CONVERSATIONS = 10_000
SEED = 4


def test_a_conversation_is_the_same_whenever_it_is_asked_for() -> None:
    for number in range(200):
        assert conversation(SEED, number) == conversation(SEED, number)


def test_every_kind_can_be_made() -> None:
    for name in KINDS:
        for number in range(40):
            assert conversation(SEED, number, name)[1].chunks


@pytest.mark.timeout(300)
def test_ten_thousand_spoiled_conversations(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path, ["handshake_timeout = 2000"]) as broker:
        run = AbuseRun(broker.url, SEED, pid=broker.pid, read_log=broker.log, save_to=tmp_path / "faults")
        report = run.execute(CONVERSATIONS)
        print("\n".join(report.lines()))
        assert broker.running
    assert not report.faults, "\n".join(report.faults[:20])
    assert sum(tally.labels.total() for tally in report.tallies.values()) >= CONVERSATIONS
