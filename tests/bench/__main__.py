"""Measure amqpd, and other brokers beside it: `python -m tests.bench`.

Without a subcommand: raw-socket load, cell by cell, in alternation on every broker that is named; messages per second,
broker CPU per message, latency at half load, peak memory. `micro` runs the broker in this process without sockets;
`stall` looks for the longest time in which the event loop does nothing else.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.bench import micro, stall
from tests.bench.campaign import campaign
from tests.bench.cells import CELLS, SHORT, chosen
from tests.bench.crew import Crew
from tests.bench.guard import Guard
from tests.bench.masses import allow_open_files
from tests.bench.measure import Plan
from tests.bench.plot import PlotError, plot
from tests.bench.report import Report
from tests.bench.subjects import STARTUP, OwnBroker, Subject, enter
from tests.support.broker import BrokerError, leave_on_sigterm
from tests.support.rabbitmq import RabbitProcess

PLANS = {True: (Plan(0.2, 0.6, 0.6), 3, 1), False: (Plan(0.5, 2.0, 3.0), 5, 3)}
"""Seconds, runs and latency runs: of the short mode, and of the full one."""


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"less than a minute: {', '.join(SHORT)}")
    parser.add_argument("--cells", action="append", metavar="GLOB", help="the cells to measure; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the cells and exit")
    parser.add_argument("--runs", type=int, help="runs per cell, of which the median is taken")
    parser.add_argument("--seconds", type=float, help="how long a run is measured")
    parser.add_argument("--no-latency", action="store_true", help="leave the paced runs out")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="a factor for connections, queues and bindings in bulk"
    )
    parser.add_argument("--verbose", action="store_true", help="also what the load generator itself takes")
    ours = parser.add_argument_group("amqpd")
    ours.add_argument("--python", default=sys.executable, metavar="EXECUTABLE", help="the interpreter that runs it")
    ours.add_argument(
        "--command", metavar="WORDS", help="a command in place of the interpreter, such as a prefix and it"
    )
    ours.add_argument("--root", type=Path, metavar="DIR", help="run it by chroot in DIR, where it is installed")
    ours.add_argument(
        "--loop", choices=("asyncio", "uvloop"), default="", help="the event loop (what it takes by itself)"
    )
    ours.add_argument("--baseline", type=Path, metavar="CHECKOUT", help="compare with amqpd of another checkout")
    ours.add_argument("--without-amqpd", action="store_true", help="measure only the others")
    others = parser.add_argument_group("other brokers")
    others.add_argument("--against", metavar="URL", help="a running broker")
    others.add_argument("--pid", type=int, help="its process; without it there are no figures of CPU and memory")
    others.add_argument(
        "--with-rabbitmq",
        nargs="?",
        const="",
        action="append",
        metavar="ROOT",
        help="start a private RabbitMQ: the system's, or the one in the Debian root directory ROOT; may be repeated",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", type=Path, metavar="FILE", help="all figures of all runs")
    output.add_argument("--plot", type=Path, metavar="FILE", help="bars, as FILE.svg or FILE.png (needs matplotlib)")
    return parser


def subjects(arguments: argparse.Namespace, stack: ExitStack, guard: Guard) -> list[Subject]:
    """Start what is to be measured; amqpd is the first and compared with the others."""
    command, loop = arguments.command or arguments.python, arguments.loop
    found = []
    if not arguments.without_amqpd:
        found.append(enter(stack, guard, "amqpd", OwnBroker(command, loop=loop, root=arguments.root)))
    if arguments.baseline:
        own = sys.executable if arguments.root else command
        broker = OwnBroker(own, loop=loop, checkout=arguments.baseline.resolve())
        found.append(enter(stack, guard, "baseline", broker))
    for path in arguments.with_rabbitmq or ():
        node = RabbitProcess(root=Path(path).resolve() if path else None, startup_timeout=STARTUP)
        subject = enter(stack, guard, "RabbitMQ", node)
        subject.name = f"RabbitMQ {subject.version.split()[1]}"
        found.append(subject)
    if arguments.against:
        found.append(Subject("other", arguments.against, arguments.pid))
    return found


def bench(words: list[str]) -> int:
    """Measure and print."""
    parser = options()
    arguments = parser.parse_args(words)
    if arguments.list:
        print("\n".join(CELLS))
        return 0
    try:
        cells = chosen(arguments.cells or (SHORT if arguments.short else ["*"]))
    except ValueError as error:
        parser.error(str(error))
    cells = [cell.scaled(arguments.scale) for cell in cells] if arguments.scale != 1.0 else cells
    plan, runs, latency_runs = PLANS[arguments.short]
    plan = Plan(plan.warm, arguments.seconds or plan.seconds, 0.0 if arguments.no_latency else plan.latency)
    allow_open_files()
    with ExitStack() as stack:
        guard = Guard()
        stack.callback(guard.close)
        crew = Crew(guard)
        stack.callback(crew.dismiss)
        try:
            report = Report(subjects(arguments, stack, guard), cells)
        except BrokerError as error:
            print(error, file=sys.stderr)
            return 1
        try:
            campaign(report, crew, plan, arguments.runs or runs, min(arguments.runs or runs, latency_runs))
        finally:
            publish(report, arguments)
    return 1 if report.failures else 0


def publish(report: Report, arguments: argparse.Namespace) -> None:
    """Whatever there is by now: also after Ctrl-C."""
    for line in report.table(arguments.verbose):
        print(line)
    if arguments.json:
        report.write_json(arguments.json)
    if arguments.plot:
        try:
            plot(report, arguments.plot)
        except PlotError as error:
            print(error, file=sys.stderr)


def main() -> int:
    """The subcommand's exit status."""
    words = sys.argv[1:]
    if words and words[0] == "micro":
        return micro.main(words[1:])
    if words and words[0] == "stall":
        return stall.main(words[1:])
    return bench(words)


if __name__ == "__main__":
    leave_on_sigterm()
    sys.exit(main())
