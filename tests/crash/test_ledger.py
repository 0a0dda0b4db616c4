"""The judge of the crash runs must notice what it is there to notice."""

from __future__ import annotations

import random

import pytest

from tests.crash.ledger import FANOUT, FANOUT_QUEUES, Key, Ledger, Stream, make_body, read_body

QUEUE = "crash.q0"
CHANCE = random.Random(1)


def body(number: int, target: str = QUEUE) -> bytes:
    return make_body(CHANCE, 7, number, target)


def ledger_with(*numbers: int, target: str = QUEUE) -> Ledger:
    ledger = Ledger()
    keys: list[Key] = [(7, number) for number in numbers]
    ledger.publishing([(key, target) for key in keys])
    ledger.confirm(keys)
    return ledger


def test_a_body_tells_which_message_it_is() -> None:
    data = body(12)
    assert read_body(data) == ((7, 12), QUEUE)
    assert read_body(data[:-1]) is None
    assert read_body(data[:-1] + b"\xff") is None
    assert read_body(b"") is None


def test_an_ordinary_life_is_no_fault() -> None:
    ledger = ledger_with(1, 2)
    stream = Stream(QUEUE, puts_back=False)
    ledger.deliver(stream, body(1), False)
    ledger.deliver(stream, body(2), False)
    ledger.settling(QUEUE, [(7, 1)])
    assert ledger.owed(QUEUE) == {(7, 2)}
    again = Stream(QUEUE, puts_back=False)
    ledger.deliver(again, body(1), True)
    ledger.deliver(again, body(2), True)
    ledger.settling(QUEUE, [(7, 1), (7, 2)])
    assert not ledger.owed(QUEUE)
    assert not ledger.faults


def test_a_confirmed_fanout_message_is_owed_by_both_queues() -> None:
    ledger = ledger_with(1, target=FANOUT)
    ledger.settling(FANOUT_QUEUES[0], [(7, 1)])
    assert not ledger.owed(FANOUT_QUEUES[0])
    assert ledger.owed(FANOUT_QUEUES[1]) == {(7, 1)}


def test_what_was_delivered_but_not_acknowledged_is_still_owed() -> None:
    ledger = ledger_with(1)
    ledger.deliver(Stream(QUEUE, puts_back=False), body(1), False)
    assert ledger.owed(QUEUE) == {(7, 1)}


@pytest.mark.parametrize(
    ("deliveries", "complaint"),
    [
        ([(1, False), (1, False)], "without the redelivered flag"),
        ([(2, False), (1, False)], "came after number 2"),
        ([(2, True), (1, True)], "came after number 2"),
        ([(3, False)], "nobody sent"),
    ],
)
def test_a_wrong_delivery_is_a_fault(deliveries: list[tuple[int, bool]], complaint: str) -> None:
    ledger = ledger_with(1, 2)
    stream = Stream(QUEUE, puts_back=False)
    for number, redelivered in deliveries:
        ledger.deliver(stream, body(number), redelivered)
    assert any(complaint in fault for fault in ledger.faults)


def test_order_is_kept_over_consumers() -> None:
    ledger = ledger_with(1, 2)
    ledger.deliver(Stream(QUEUE, puts_back=False), body(2), False)
    ledger.deliver(Stream(QUEUE, puts_back=False), body(1), False)
    assert any("for the first time after" in fault for fault in ledger.faults)


def test_a_message_in_the_wrong_queue_is_a_fault() -> None:
    ledger = ledger_with(1)
    ledger.deliver(Stream("crash.q1", puts_back=False), body(1), False)
    assert any("was sent to" in fault for fault in ledger.faults)


def test_a_damaged_body_is_a_fault() -> None:
    ledger = ledger_with(1)
    data = bytearray(body(1))
    data[-1] ^= 1
    ledger.deliver(Stream(QUEUE, puts_back=False), bytes(data), False)
    assert any("damaged" in fault for fault in ledger.faults)
