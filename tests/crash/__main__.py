"""Kill a broker under load, round after round: `python -m tests.crash --rounds 20 --seed 1`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.crash.run import CrashRun
from tests.support.broker import BrokerProcess, leave_on_sigterm
from tests.support.rabbitmq import RabbitProcess


def main() -> int:
    """Run, print the figures, and say what was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--rabbitmq", action="store_true", help="try a private RabbitMQ node instead of amqpd")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs amqpd")
    parser.add_argument("--directory", type=Path, help="where data and log go (kept afterwards)")
    parser.add_argument("--config", action="append", default=[], metavar="LINE", help="a line for the configuration")
    arguments = parser.parse_args()
    kind = RabbitProcess if arguments.rabbitmq else BrokerProcess
    broker = kind(arguments.directory, arguments.config, python=arguments.python, startup_timeout=60.0)
    print(f"seed {arguments.seed}, directory {broker.directory}", flush=True)
    with broker.start():
        run = CrashRun(broker, arguments.seed, lambda line: print(line, flush=True))
        faults = run.execute(arguments.rounds)
        print(run.figures)
        for fault in faults[:30]:
            print("FAULT:", fault)
        if faults:
            print(f"{len(faults)} faults; data and log are in {broker.directory}")
            broker.keep()
    return 1 if faults else 0


if __name__ == "__main__":
    leave_on_sigterm()
    sys.exit(main())
