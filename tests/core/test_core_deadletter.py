"""Dead letters: the history in the header, its types and its order, whom to believe, and where they may not go."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp.header import ContentHeader

from amqpd.core.deadletter import DeadLetter, Reason, cycle_text, dead_letter, is_cycle, redelivered
from amqpd.core.message import REKEYED, SLICE_MAX, Message, exchange_of, props_of, routing_key_of
from amqpd.wire import framing, outgoing, properties
from amqpd.wire.outgoing import Content, shortstr
from amqpd.wire.tables import Field, Table, encode_table, long, longstr, subtable

CHANNEL = 7

NOW = 1_700_000_000

EVERYTHING: dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "utf-8",
    "headers": {"zebra": "z", "apple": 1},
    "delivery_mode": 2,
    "priority": 5,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "m",
    "timestamp": 12,
    "type": "t",
    "user_id": "u",
    "app_id": "a",
    "cluster_id": "k",
}


def published(
    props: bytes, *, exchange: str = "orders", key: str = "new", bodies: tuple[bytes, ...] = (b"body",)
) -> Message:
    """A message as a client published it on a channel."""
    head = b"\x00\x3c\x00\x00" + sum(map(len, bodies)).to_bytes(8, "big")
    frames = [framing.frame(framing.HEADER, CHANNEL, head + props)]
    frames += [framing.frame(framing.BODY, CHANNEL, body) for body in bodies]
    whole = b"".join(frames)
    content: Content = whole if len(whole) <= SLICE_MAX else tuple(frames)
    return 2, shortstr(exchange) + shortstr(key), content, CHANNEL | max(map(len, frames)) << 16, 0


def plain(headers: Table | None = None, **properties_: Any) -> Message:
    """A message with these headers and properties."""
    props = properties.encode(properties_)
    return published(props if headers is None else properties.rewrite(props, headers=headers))


def again(letter: DeadLetter, exchange: str = "dlx") -> Message:
    """The message that a dead letter becomes when it is enqueued."""
    return 4, shortstr(exchange) + shortstr(letter.keys[0]), letter.content, letter.origin, 0


def die(
    message: Message, queue: str = "q", reason: Reason = "rejected", *, key: str | None = None, at: int = NOW
) -> DeadLetter:
    return dead_letter(message, queue=queue, reason=reason, routing_key=key, seconds=at)


def deaths(letter: DeadLetter) -> list[Table]:
    """The x-death that a client would read from the dead letter's header frame."""
    field = properties.headers(props_of(again(letter)))["x-death"]
    assert field.kind == "A"
    assert all(item.kind == "F" for item in field.value)
    return [item.value for item in field.value]


def texts(letter: DeadLetter, which: str) -> dict[str, Any]:
    headers = properties.headers(props_of(again(letter)))
    return {name: headers[f"x-{which}-death-{name}"] for name in ("queue", "reason", "exchange")}


def longstrs(*items: str) -> Field:
    return Field("A", [longstr(item) for item in items])


class TestFirstDeath:
    def test_the_entry_has_rabbitmq_s_fields_in_its_order_and_types(self) -> None:
        (entry,) = deaths(die(plain(), "work", "expired"))
        assert list(entry.items()) == [
            ("count", long(1)),
            ("reason", longstr("expired")),
            ("queue", longstr("work")),
            ("time", Field("T", NOW)),
            ("exchange", longstr("orders")),
            ("routing-keys", longstrs("new")),
        ]

    @pytest.mark.parametrize("reason", ["rejected", "expired", "maxlen", "delivery_limit"])
    def test_first_and_last_are_the_same(self, reason: Reason) -> None:
        letter = die(plain(), "work", reason)
        expected = {"queue": longstr("work"), "reason": longstr(reason), "exchange": longstr("orders")}
        assert texts(letter, "first") == texts(letter, "last") == expected

    def test_of_a_message_to_the_default_exchange(self) -> None:
        letter = die(published(properties.encode({}), exchange="", key="work"))
        assert deaths(letter)[0]["exchange"] == longstr("")
        assert texts(letter, "first")["exchange"] == longstr("")

    def test_all_other_properties_stay_as_they_are(self) -> None:
        letter = die(published(properties.encode(EVERYTHING)))
        sent = properties.encode(EVERYTHING)
        for name, value in EVERYTHING.items():
            if name not in ("headers", "expiration"):
                assert properties.octets(letter.props, name) == properties.octets(sent, name), value
        assert properties.octets(letter.props, "expiration") is None
        assert list(letter.headers)[:2] == ["zebra", "apple"]
        assert letter.headers["zebra"] == longstr("z")
        assert letter.headers["apple"] == long(1)

    def test_what_is_returned_is_what_the_frame_says(self) -> None:
        letter = die(published(properties.encode(EVERYTHING)))
        assert props_of(again(letter)) == letter.props
        assert properties.headers(letter.props) == letter.headers
        assert letter.origin & 0xFFFF == 0

    def test_pamqp_reads_the_same(self) -> None:
        letter = die(published(properties.encode(EVERYTHING)))
        assert isinstance(letter.content, bytes)
        _, _, size = framing.unpack_head(letter.content, 0)
        header = ContentHeader()
        header.unmarshal(letter.content[7 : 7 + size])
        assert header.body_size == 4
        assert header.properties.priority == 5
        assert header.properties.expiration is None
        (entry,) = header.properties.headers["x-death"]
        assert (entry["count"], entry["queue"], entry["routing-keys"]) == (1, "q", ["new"])

    def test_a_name_that_is_no_text(self) -> None:
        name = b"\xff\xfe".decode("utf-8", "surrogateescape")
        letter = die(published(properties.encode({}), exchange=name, key=name), name)
        (entry,) = deaths(letter)
        assert entry["queue"] == entry["exchange"] == Field("S", b"\xff\xfe")
        assert is_cycle(letter.headers, name) is False
        assert is_cycle(die(plain(), name, "maxlen").headers, name) is True


class TestFurtherDeaths:
    def test_the_same_death_is_counted_and_keeps_all_else(self) -> None:
        message = plain(expiration="5")
        first = die(message, at=NOW, key="other")
        second = die(again(first, "elsewhere"), at=NOW + 60)
        (before,), (after,) = deaths(first), deaths(second)
        assert after == before | {"count": long(2)}
        assert list(after) == list(before)
        assert deaths(die(again(second)))[0]["count"] == long(3)

    def test_another_reason_or_queue_has_an_entry_of_its_own_in_front(self) -> None:
        letter = die(plain(), "a", "rejected")
        letter = die(again(letter), "a", "expired", at=NOW + 1)
        letter = die(again(letter), "b", "expired", at=NOW + 2)
        assert [(entry["queue"].value, entry["reason"].value) for entry in deaths(letter)] == [
            ("b", "expired"),
            ("a", "expired"),
            ("a", "rejected"),
        ]
        assert [entry["time"].value for entry in deaths(letter)] == [NOW + 2, NOW + 1, NOW]
        assert deaths(letter)[0]["exchange"] == longstr("dlx")

    def test_a_repeated_death_moves_to_the_front(self) -> None:
        letter = die(plain(), "a", "expired")
        for queue in ("b", "c", "a"):
            letter = die(again(letter), queue, "expired", at=NOW + 9)
        assert [(entry["queue"].value, entry["count"].value) for entry in deaths(letter)] == [
            ("a", 2),
            ("c", 1),
            ("b", 1),
        ]
        assert deaths(letter)[0]["time"] == Field("T", NOW)

    def test_first_stays_and_last_follows(self) -> None:
        letter = die(again(die(plain(), "a", "expired")), "b", "maxlen")
        assert texts(letter, "first") == {
            "queue": longstr("a"),
            "reason": longstr("expired"),
            "exchange": longstr("orders"),
        }
        assert texts(letter, "last") == {
            "queue": longstr("b"),
            "reason": longstr("maxlen"),
            "exchange": longstr("dlx"),
        }

    def test_the_last_exchange_of_a_repeated_death_is_that_of_the_last(self) -> None:
        letter = die(again(die(plain()), "dlx"))
        assert deaths(letter)[0]["exchange"] == longstr("orders")
        assert texts(letter, "last")["exchange"] == longstr("dlx")

    def test_the_message_before_is_left_alone(self) -> None:
        first = die(plain())
        kept = (first.content, properties.headers(first.props))
        die(again(first))
        assert (first.content, first.headers) == kept


class TestExpiration:
    def test_it_is_taken_out_and_remembered_in_front(self) -> None:
        letter = die(plain(expiration="60000"), reason="maxlen")
        (entry,) = deaths(letter)
        assert list(entry)[:2] == ["original-expiration", "count"]
        assert entry["original-expiration"] == longstr("60000")
        assert properties.facts(letter.props).expiration is None

    @pytest.mark.parametrize(("text", "number"), [("0", "0"), ("007", "7"), ("+5", "5")])
    def test_it_is_remembered_as_the_number_it_is(self, text: str, number: str) -> None:
        assert deaths(die(plain(expiration=text)))[0]["original-expiration"] == longstr(number)

    def test_only_the_death_that_took_it_out_has_it(self) -> None:
        letter = die(again(die(plain(expiration="1"), "a", "expired")), "b", "expired")
        assert ["original-expiration" in entry for entry in deaths(letter)] == [False, True]


class TestKeys:
    def cc(self) -> Message:
        return plain({"CC": longstrs("copy 1", "copy 2"), "n": long(1)})

    def test_the_original_key(self) -> None:
        letter = die(plain())
        assert letter.keys == ["new"]
        assert letter.origin & REKEYED == 0

    def test_cc_keys_are_recorded_and_route(self) -> None:
        letter = die(self.cc())
        assert letter.keys == ["new", "copy 1", "copy 2"]
        assert deaths(letter)[0]["routing-keys"] == longstrs("new", "copy 1", "copy 2")
        assert letter.headers["CC"] == longstrs("copy 1", "copy 2")
        assert die(again(letter)).keys == ["new", "copy 1", "copy 2"]

    def test_what_in_cc_is_no_long_string_is_passed_over(self) -> None:
        assert die(plain({"CC": Field("A", [long(1), longstr("copy")])})).keys == ["new", "copy"]

    def test_a_dead_letter_routing_key_takes_the_place_of_all(self) -> None:
        letter = die(self.cc(), "a", "expired", key="dead")
        assert letter.keys == ["dead"]
        assert deaths(letter)[0]["routing-keys"] == longstrs("new", "copy 1", "copy 2")
        assert letter.headers["CC"] == longstrs("copy 1", "copy 2")

    @pytest.mark.parametrize("key", ["dead", "new"])
    def test_after_it_the_cc_header_no_longer_counts(self, key: str) -> None:
        letter = die(self.cc(), "a", "expired", key=key)
        for queue in ("b", "c"):
            letter = die(again(letter), queue, "expired")
            assert letter.keys == [key]
            assert deaths(letter)[0]["routing-keys"] == longstrs(key)
        assert 0 <= letter.origin < 1 << 64

    def test_keys_that_are_no_text(self) -> None:
        message = plain({"CC": Field("A", [Field("S", b"\xff")])})
        letter = die(message)
        assert shortstr(letter.keys[1]) == b"\x01\xff"
        assert deaths(letter)[0]["routing-keys"] == Field("A", [longstr("new"), Field("S", b"\xff")])

    def test_exchange_and_key_of_a_message(self) -> None:
        message = published(b"\x00\x00", exchange="x" * 255, key="")
        assert (exchange_of(message), routing_key_of(message)) == ("x" * 255, "")


class TestTrust:
    """A client's own headers under the broker's names are passed on until a death overwrites them."""

    def forged(self) -> Table:
        return {
            "mine": longstr("kept"),
            "x-death": Field("A", [subtable({"count": long(9), "queue": longstr("q"), "reason": longstr("rejected")})]),
            "x-first-death-queue": longstr("theirs"),
            "x-first-death-reason": long(1),
            "x-first-death-exchange": longstr("theirs"),
            "x-last-death-queue": longstr("theirs"),
        }

    def test_a_client_s_history_is_overwritten(self) -> None:
        letter = die(plain(self.forged()))
        (entry,) = deaths(letter)
        assert entry["count"] == long(1)
        expected = {"queue": longstr("q"), "reason": longstr("rejected"), "exchange": longstr("orders")}
        assert texts(letter, "first") == texts(letter, "last") == expected
        assert letter.headers["mine"] == longstr("kept")

    def test_a_dead_letter_that_a_client_publishes_again_starts_afresh(self) -> None:
        letter = die(again(die(plain(), "a", "expired")), "b", "expired")
        republished = published(letter.props)
        (entry,) = deaths(die(republished, "b", "expired"))
        assert (entry["queue"], entry["count"]) == (longstr("b"), long(1))
        assert texts(die(republished, "b", "expired"), "first")["queue"] == longstr("b")

    @pytest.mark.parametrize("theirs", [long(1), Field("A", [long(1)]), Field("A", [subtable({})]), Field("V", None)])
    def test_a_client_s_x_death_of_any_shape(self, theirs: Field) -> None:
        assert len(deaths(die(plain({"x-death": theirs})))) == 1

    def test_headers_that_nobody_can_decode_give_way(self) -> None:
        props = b"\x20\x00" + (5).to_bytes(4, "big") + b"\x01a?xx"
        letter = die(published(props))
        assert len(deaths(letter)) == 1
        _, _, content, _, _ = redelivered(published(props), 1, 1)
        assert headers_in(content) == {"x-acquired-count": long(1), "x-delivery-count": long(1)}


class TestFrames:
    def test_small_contents_stay_in_one_piece(self) -> None:
        letter = die(published(properties.encode({}), bodies=(b"one", b"two")))
        assert isinstance(letter.content, bytes)
        first, *rest = list(frames_of(letter.content))
        assert first[:3] == b"\x02\x00\x00"
        assert int.from_bytes(first[11:19], "big") == 6
        assert rest == [framing.frame(framing.BODY, CHANNEL, body) for body in (b"one", b"two")]
        assert letter.origin == len(first) << 16

    def test_an_empty_body(self) -> None:
        letter = die(published(properties.encode({}), bodies=()))
        assert isinstance(letter.content, bytes)
        assert len(list(frames_of(letter.content))) == 1

    def test_the_frames_of_large_contents_are_shared(self) -> None:
        message = published(properties.encode({}), bodies=(b"x" * SLICE_MAX, b"y"))
        letter = die(again(die(message)))
        assert isinstance(letter.content, tuple)
        assert isinstance(message[2], tuple)
        assert all(a is b for a, b in zip(letter.content[1:], message[2][1:], strict=True))
        assert letter.origin == SLICE_MAX + 8 << 16

    def test_a_content_that_grows_large_falls_into_its_frames(self) -> None:
        message = published(properties.encode({}), bodies=(b"x" * 30000, b"y" * 35400))
        assert isinstance(message[2], bytes)
        letter = die(message)
        assert isinstance(letter.content, tuple)
        assert [len(frame) for frame in letter.content[1:]] == [30008, 35408]
        assert b"".join(letter.content)[-35408:] == framing.frame(framing.BODY, CHANNEL, b"y" * 35400)

    @pytest.mark.parametrize("bodies", [(b"one", b"two"), (b"x" * SLICE_MAX, b"y")])
    def test_they_go_out_on_any_channel(self, bodies: tuple[bytes, ...]) -> None:
        letter = die(published(properties.encode(EVERYTHING), bodies=bodies))
        sent = list(frames_of(b"".join(outgoing.content_for(letter.content, 3, 0))))
        assert [framing.unpack_head(frame, 0)[:2] for frame in sent] == [(2, 3), (3, 3), (3, 3)]
        assert sent[0][19:-1] == letter.props
        assert [frame[7:-1] for frame in sent[1:]] == list(bodies)

    def test_a_header_larger_than_frame_max_goes_out_whole(self) -> None:
        message = plain({"long": longstr("x" * 4000)})
        letter = die(message)
        header, body = frames_of(b"".join(outgoing.content_for(letter.content, 3, 4096)))
        assert len(header) > 4096
        assert header[19:-1] == letter.props
        assert body == framing.frame(framing.BODY, 3, b"body")


class TestCycles:
    @pytest.mark.parametrize(
        ("history", "target", "dropped"),
        [
            # The deaths in the order in which they happened.
            ("a expired", "a", True),
            ("a expired", "b", False),
            ("a rejected", "a", False),
            ("a maxlen", "a", True),
            ("a delivery_limit", "a", True),
            ("a expired, b expired", "a", True),
            ("a expired, b rejected", "a", False),
            ("a rejected, b expired", "a", False),
            ("a rejected, b expired", "b", True),
            ("a expired, b rejected, c expired", "a", False),
            ("a expired, b rejected, c expired", "b", False),
            ("a expired, b rejected, c expired", "c", True),
            ("b rejected, a expired, c expired", "a", True),
            # One queue with two reasons: its most recent death is looked at.
            ("a rejected, a expired", "a", True),
            ("a expired, a rejected", "a", False),
            # A repeated death is a recent one.
            ("a rejected, a expired, b expired, a rejected", "b", False),
            ("a expired, b rejected, a expired", "a", True),
            ("a expired, b rejected, a expired", "b", False),
        ],
    )
    def test_rule(self, history: str, target: str, dropped: bool) -> None:
        message = plain()
        for death in history.split(", "):
            queue, reason = death.split()
            letter = die(message, queue, reason)  # type: ignore[arg-type]
            message = again(letter)
        assert is_cycle(letter.headers, target) is dropped

    def test_a_client_s_history_is_no_cycle(self) -> None:
        republished = published(die(plain(), "a", "expired").props)
        assert is_cycle(die(republished, "b", "expired").headers, "a") is False

    def test_what_is_logged(self) -> None:
        letter = die(again(die(plain(), "a", "expired")), "b", "maxlen")
        assert cycle_text(letter.headers, "a") == (
            "Message dropped because the following list of queues (ordered by death recency) contains a dead letter "
            "cycle without reason 'rejected'. This list will not be logged again: "
            '[<<"a">>,<<"b">>,<<"a">>]'
        )

    def test_what_is_logged_of_names_that_are_no_text(self) -> None:
        name = b"\xff".decode("utf-8", "surrogateescape")
        assert cycle_text(die(plain(), name, "expired").headers, name).endswith("[<<255>>,<<255>>]")


class TestDeliveryCount:
    def test_it_is_a_long_among_the_client_s_headers(self) -> None:
        message = published(properties.encode(EVERYTHING))
        _, _, content, origin, _ = redelivered(message, 5, 3)
        assert headers_in(content) == {
            "zebra": longstr("z"),
            "apple": long(1),
            "x-acquired-count": long(5),
            "x-delivery-count": long(3),
        }
        props = props_of((2, message[1], content, origin, 0))
        assert properties.rewrite(props, headers=None) == properties.rewrite(props_of(message), headers=None)

    def test_it_takes_the_place_of_a_client_s_own(self) -> None:
        _, _, content, _, _ = redelivered(plain({"x-delivery-count": longstr("many")}), 1, 1)
        assert headers_in(content) == {"x-acquired-count": long(1), "x-delivery-count": long(1)}

    def test_it_can_go_out_as_it_is_on_the_publisher_s_channel(self) -> None:
        _, _, content, origin, _ = redelivered(plain(), 1, 1)
        assert isinstance(content, bytes)
        first, _ = frames_of(content)
        assert content == b"".join(outgoing.content_for(content, CHANNEL, 0))
        assert origin == CHANNEL | len(first) << 16

    def test_it_makes_no_client_s_history_the_broker_s(self) -> None:
        forged = plain({"x-death": Field("A", [subtable({"queue": longstr("q"), "reason": longstr("rejected")})])})
        _, _, content, origin, _ = redelivered(forged, 1, 1)
        assert deaths(die((2, forged[1], content, origin, 0)))[0]["count"] == long(1)

    def test_a_dead_letter_s_history_stays_the_broker_s(self) -> None:
        letter = die(plain({"CC": longstrs("copy")}), key="dead")
        _, _, content, origin, _ = redelivered(again(letter), 1, 1)
        assert origin & 0xFFFF == 0
        assert origin & REKEYED
        assert headers_in(content) == letter.headers | {"x-acquired-count": long(1), "x-delivery-count": long(1)}

    def test_large_bodies_are_shared(self) -> None:
        message = published(properties.encode({}), bodies=(b"x" * SLICE_MAX,))
        _, _, content, _, _ = redelivered(message, 1, 0)
        assert content[1] is message[2][1]


def headers_in(content: Content) -> Table:
    return properties.headers(props_of((2, b"\x00\x00", content, 0, 0)))


def frames_of(data: bytes) -> Any:
    """The whole frames in these octets."""
    start = 0
    while start < len(data):
        end = start + 8 + framing.unpack_head(data, start)[2]
        assert data[end - 1] == framing.FRAME_END
        yield data[start:end]
        start = end


def test_headers_are_encoded_as_they_were() -> None:
    """Whatever types a client uses, a death changes none of them."""
    table: Table = {
        "t": Field("t", True),
        "b": Field("b", -1),
        "f": Field("f", 0.5),
        "D": Field("D", (2, 314)),
        "x": Field("x", b"\x00"),
        "V": Field("V", None),
        "F": subtable({"deep": Field("A", [long(1)])}),
    }
    letter = die(plain(table))
    kept = {name: letter.headers[name] for name in table}
    assert encode_table(kept) == encode_table(table)
