"""Abuse a broker: `python -m tests.abuse --conversations 10000 --seed 1`.

`--kind NAME` tries one kind only; `--replay NUMBER` holds one conversation again and shows what was sent
and how it ended.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.abuse.kinds import KINDS, conversation
from tests.abuse.run import CONCURRENCY, DEADLINE, AbuseRun
from tests.abuse.talk import Talk
from tests.support.broker import BrokerProcess, leave_on_sigterm
from tests.support.rabbitmq import RabbitProcess

CONFIG = ("handshake_timeout = 2000",)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.abuse", description=__doc__)
    parser.add_argument("--conversations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY)
    parser.add_argument("--kind", default="", choices=["", *KINDS], help="only this kind")
    parser.add_argument("--replay", type=int, help="hold this conversation only")
    parser.add_argument("--against", metavar="URL", help="a running broker instead of an own amqpd")
    parser.add_argument("--pid", type=int, help="its process")
    parser.add_argument("--rabbitmq", action="store_true", help="a private RabbitMQ node instead of amqpd")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs amqpd")
    return parser.parse_args()


def _replay(url: str, arguments: argparse.Namespace) -> int:
    parts = urlsplit(url)
    name, script = conversation(arguments.seed, arguments.replay, arguments.kind)
    print(f"{name}, {script.ending.name}, expected {script.expected}")
    for chunk in script.chunks:
        print(f"  {len(chunk)} bytes: {chunk[:1500]!r}")
    outcome = asyncio.run(Talk(script, DEADLINE).hold(parts.hostname or "127.0.0.1", parts.port or 5672))
    print(f"{outcome.label} [{outcome.text}] in {outcome.seconds:.2f} s")
    return 0 if outcome.acceptable(script.expected) else 1


def _abuse(run: AbuseRun, arguments: argparse.Namespace) -> int:
    report = run.execute(arguments.conversations)
    for line in report.lines():
        print(line)
    for fault in report.faults[:40]:
        print("FAULT:", fault)
    print(f"seed {arguments.seed}: {len(report.faults)} faults")
    return 1 if report.faults else 0


def main() -> int:
    """Run, print the table, and say what was wrong."""
    arguments = _arguments()
    options: dict[str, Any] = {"only": arguments.kind, "concurrency": arguments.concurrency}
    if arguments.against:
        if arguments.replay is not None:
            return _replay(arguments.against, arguments)
        return _abuse(AbuseRun(arguments.against, arguments.seed, pid=arguments.pid, **options), arguments)
    kind = RabbitProcess if arguments.rabbitmq else BrokerProcess
    with kind(None, CONFIG, python=arguments.python, startup_timeout=60.0) as broker:
        if arguments.replay is not None:
            status = _replay(broker.url, arguments)
            print(broker.log()[-3000:])
            return status
        save_to = Path(broker.directory) / "faults"
        own: dict[str, Any] = {"pid": broker.pid, "read_log": broker.log, "save_to": save_to}
        status = _abuse(AbuseRun(broker.url, arguments.seed, **own, **options), arguments)
        if status:
            broker.keep()
            print(f"log and bytes are in {broker.directory}")
        return status


if __name__ == "__main__":
    leave_on_sigterm()
    sys.exit(main())
