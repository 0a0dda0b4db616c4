"""Plans: what is remembered, for how long, and what a remembered plan must not hold on to."""

from __future__ import annotations

import gc
import weakref

from tests.support.world import World


def test_a_plan_is_kept_from_the_second_time_on(world: World) -> None:
    client = world.connect()
    client.open()
    client.declare("q")
    known = client.session.plans.known
    client.publish("", "q")
    assert len(known) == 0
    client.publish("", "q")
    assert len(known) == 1
    client.publish("", "nowhere")
    client.publish("", "nowhere")
    assert len(known) == 1


def test_a_remembered_plan_holds_no_connection(world: World) -> None:
    client = world.connect()
    client.open()
    client.declare("q", exclusive=True)
    client.consume("q")
    for _ in range(3):
        client.publish("", "q")
    session = weakref.ref(client.session)
    assert len(client.session.plans.known) == 1
    client.lose()
    del client
    gc.collect()
    assert session() is None
