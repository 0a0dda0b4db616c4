"""How fast a stream is read from the disk, and in how much memory: `python -m tests.bench.streams`.

A stream is filled with confirmed messages, the broker started again, and the stream read from its start by one consumer
and then by several, each from an offset of its own. Deliveries are all of one size, so octets tell how many have come.
The figures are those of a page cache that may hold the stream; the data is removed at the end.
"""

from __future__ import annotations

import argparse
import selectors
import time
from dataclasses import dataclass

from pamqp import commands

from tests.support.broker import BrokerProcess
from tests.support.rawclient import RawClient, pack_method, pack_publish

QUEUE = "bench.stream"
STREAM = {"x-queue-type": "stream"}
PREFETCH = 2000
WINDOW = 1000
MEGABYTE = 1 << 20


@dataclass
class Reader:
    """A consumer that takes `missing` messages."""

    client: RawClient
    size: int
    missing: int
    octets: int = 0
    acked: int = 0

    def take(self, data: int) -> None:
        """So many octets have come; ack by halves of the prefetch count."""
        self.octets += data
        came = self.octets // self.size
        if came - self.acked >= PREFETCH // 2:
            self.acked = came
            self.client.send_method(commands.Basic.Ack(delivery_tag=came, multiple=True), 1)


def fill(broker: BrokerProcess, count: int, payload: bytes) -> float:
    """Publish so many messages, each confirmed; the seconds it took."""
    with RawClient.connected(broker.url) as client:
        client.open_channel()
        client.declare_queue(QUEUE, durable=True, arguments=STREAM)
        client.confirm_select()
        one = pack_publish(1, "", QUEUE, payload, commands.Basic.Properties(delivery_mode=2))
        began, sent, confirmed = time.monotonic(), 0, 0
        while confirmed < count:
            size = min(WINDOW, count - sent)
            client.send(one * size)
            sent += size
            while confirmed < (sent - WINDOW if sent < count else count):
                confirmed = client.expect(commands.Basic.Ack, timeout=60).delivery_tag
        return time.monotonic() - began


def begin(broker: BrokerProcess, offset: int, count: int) -> Reader:
    """A consumer from this offset on; its first delivery says how large they are."""
    client = RawClient.connected(broker.url)
    client.open_channel()
    client.qos(PREFETCH)
    client.send_method(commands.Basic.Consume(queue=QUEUE, consumer_tag="c", arguments={"x-stream-offset": offset}), 1)
    client.expect(commands.Basic.ConsumeOk)
    content = client.expect_content(timeout=60)
    deliver = commands.Basic.Deliver("c", 1, False, "", QUEUE)
    size = len(pack_method(1, deliver)) + len(content.header) + 8 + len(content.body) + 8
    reader = Reader(client, size, count - offset, size)
    reader.take(len(client.take_buffered()))
    return reader


def read(broker: BrokerProcess, offsets: list[int], count: int) -> None:
    """Read from all these offsets at once, and print how fast."""
    before, cpu, began = broker.rss(), broker.cpu(), time.monotonic()
    readers = [begin(broker, offset, count) for offset in offsets]
    peak = before
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader.client.fileno(), selectors.EVENT_READ, reader)
        buffer = bytearray(MEGABYTE)
        while selector.get_map():
            for key, _ in selector.select(30):
                reader = key.data
                reader.take(reader.client.socket.recv_into(buffer))
                if reader.octets >= reader.missing * reader.size:
                    selector.unregister(key.fd)
            peak = max(peak, broker.rss())
    took = time.monotonic() - began
    octets, messages = sum(reader.octets for reader in readers), sum(reader.missing for reader in readers)
    for reader in readers:
        reader.client.close()
    print(
        f"{len(readers)} consumers: {octets / took / MEGABYTE:.0f} MB/s, {messages / took:,.0f} messages/s, "
        f"{(broker.cpu() - cpu) / messages * 1e6:.1f} us of CPU per message; "
        f"RSS {before / MEGABYTE:.0f} MB before, {peak / MEGABYTE:.0f} MB at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--size", type=int, default=1024, help="octets of a body")
    arguments = parser.parse_args()
    count = arguments.megabytes * MEGABYTE // arguments.size
    with BrokerProcess() as broker:
        took = fill(broker, count, b"x" * arguments.size)
        print(
            f"{count:,} messages of {arguments.size} octets, confirmed: {count / took:,.0f}/s; "
            f"RSS {broker.rss() / MEGABYTE:.0f} MB"
        )
        print(f"started again in {broker.restart():.1f} s")
        read(broker, [0], count)
        read(broker, [0, count // 4, count // 2, 3 * count // 4], count)


if __name__ == "__main__":
    main()
