"""kombu, and Celery with a real worker process: what an application's tasks need from the broker."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu
import pytest
from celery import Celery, chain, group
from celery.result import AsyncResult
from kombu import pools

from interop import celery_app
from interop.harness import Broker, OwnBroker, wait_for

DEADLINE = 30


class Worker:
    """`celery worker` as a process of its own."""

    def __init__(self, broker: Broker, name: str, directory: Path, pool: str = "solo", concurrency: int = 1) -> None:
        self.broker, self.name, self.directory = broker, name, directory
        self.hostname = f"{name}@interop"
        self.output = directory / f"{name}.log"
        self.arguments = ["--pool", pool, "--concurrency", str(concurrency)]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Where the worker finds its broker and its queue."""
        return os.environ | {celery_app.BROKER_VARIABLE: self.broker.url, celery_app.QUEUE_VARIABLE: self.name}

    def log(self) -> str:
        """What the worker has printed."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        before = len(self.log())
        command = [sys.executable, "-m", "celery", "-A", "interop.celery_app", "worker", "--loglevel", "INFO"]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--hostname", self.hostname, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=Path(__file__).parents[1],
                start_new_session=True,
            )
        try:
            wait_for(lambda: " ready." in self.log()[before:], "the worker", timeout=DEADLINE)
        except AssertionError as failure:
            self.kill()
            raise AssertionError(f"{failure}:\n{self.log()}") from None

    def kill(self) -> None:
        """End the worker and its children at once, with whatever they have under way."""
        process, self.process = self.process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self) -> None:
        """The warm shutdown that Celery does on SIGTERM."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"the worker did not stop:\n{self.log()}") from None

    def command(self, *arguments: str) -> str:
        """The output of `celery ...`."""
        whole = [sys.executable, "-m", "celery", "-A", "interop.celery_app", *arguments]
        done = subprocess.run(
            whole,
            env=self.environment,
            cwd=Path(__file__).parents[1],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def application(broker: Broker, queue_name: str) -> Iterator[Celery]:
    """A new application in this process, pointed at the broker; all its connections are closed afterwards."""
    with celery_app.application(broker.url, queue_name) as app:
        try:
            yield app
        finally:
            results = app.backend.result_consumer
            if results._connection is not None:
                results.stop()
            pools.reset()


def get(result: AsyncResult) -> Any:
    """A result, with a deadline."""
    return result.get(timeout=DEADLINE)


@pytest.fixture(scope="module", params=["solo", "prefork"])
def worker(
    request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """A running worker, in one process or with two children."""
    name = f"interop-{request.param}-{os.getpid()}"
    concurrency = 2 if request.param == "prefork" else 1
    running = Worker(broker, name, tmp_path_factory.mktemp("celery"), request.param, concurrency)
    try:
        running.start()
        yield running
        running.stop()
    finally:
        running.kill()
    with kombu.Connection(broker.url) as connection:
        connection.default_channel.queue_delete(name)


@pytest.fixture
def app(worker: Worker) -> Iterator[Celery]:
    """The application whose tasks the worker takes."""
    with application(worker.broker, worker.name) as found:
        yield found


# ---------------------------------------------------------------- tasks


def test_results_and_exceptions_come_back(app: Celery) -> None:
    assert get(app.tasks["add"].delay(2, 3)) == 5
    with pytest.raises(KeyError, match="as asked"):
        get(app.tasks["explode"].delay())


def test_groups_and_chains(app: Celery) -> None:
    assert get(group(app.tasks["add"].s(n, n) for n in range(20))()) == [2 * n for n in range(20)]
    assert get(chain(app.tasks["add"].s(1, 2), app.tasks["add"].s(10))()) == 13


def test_retries(app: Celery) -> None:
    assert get(app.tasks["fail_twice"].delay("try")) == 2


def test_countdown(app: Celery) -> None:
    """Tasks with a countdown are held by the worker, unacknowledged, and not run before their time."""
    sent = time.time()
    later = [app.tasks["now"].apply_async(countdown=2) for _ in range(5)]
    assert all(get(result) >= sent + 1.9 for result in later)


@pytest.mark.parametrize("pool", ["solo", "prefork"])
@pytest.mark.parametrize(
    "own_broker",
    [
        pytest.param("product.version = 3.13.7\n", id="by a shared prefetch"),
        pytest.param("qos.update_existing_consumers = true\n", id="by its own prefetch"),
    ],
    indirect=True,
)
def test_other_tasks_run_while_some_wait_for_their_time(
    own_broker: OwnBroker, unique: str, tmp_path: Path, pool: str
) -> None:
    """The worker raises its prefetch count by each task that it holds: over basic.qos global to a broker that announces
    itself as RabbitMQ 3, not global to one that is RabbitMQ 4, where the setting makes it count."""
    worker = Worker(own_broker, unique, tmp_path, pool)
    try:
        worker.start()
        with application(own_broker, unique) as app:
            later = [app.tasks["now"].apply_async(countdown=5) for _ in range(5)]
            meanwhile = get(app.tasks["now"].delay())
            assert all(get(result) > meanwhile for result in later)
        worker.stop()
    finally:
        worker.kill()


def test_ping_and_inspection(app: Celery, worker: Worker) -> None:
    assert app.control.inspect([worker.hostname], timeout=5).ping() == {worker.hostname: {"ok": "pong"}}
    registered = app.control.inspect([worker.hostname], timeout=5).registered()
    assert "add" in registered[worker.hostname]
    stats = app.control.inspect([worker.hostname], timeout=5).stats()[worker.hostname]
    assert stats["broker"]["port"] == worker.broker.port
    assert "pong" in worker.command("inspect", "ping", "--destination", worker.hostname, "--timeout", "5")


def test_events(app: Celery, worker: Worker) -> None:
    """A monitor, like Flower: what it sees of a task."""
    seen: list[tuple[str, str]] = []
    listening, enough = threading.Event(), threading.Event()

    def listen() -> None:
        def note(event: dict[str, Any]) -> None:
            seen.append((event["type"], event.get("uuid", "")))

        with app.connection() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": note})
            with receiver.consumer_context(wakeup=True) as (_, channel, _consumers):
                listening.set()
                while not enough.is_set():
                    try:
                        channel.connection.client.drain_events(timeout=0.2)
                    except TimeoutError:
                        continue

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        assert listening.wait(DEADLINE)
        result = app.tasks["add"].delay(4, 4)
        assert get(result) == 8
        expected = {(f"task-{what}", result.id) for what in ("received", "started", "succeeded")}
        wait_for(lambda: expected <= set(seen), f"{expected} among the events", timeout=DEADLINE)
    finally:
        enough.set()
        listener.join()


def test_revoked_and_purged(app: Celery, worker: Worker) -> None:
    """Revoking is a broadcast over a fanout exchange; purge empties the queue."""
    result = app.tasks["add"].apply_async((1, 1), countdown=30)
    wait_for(lambda: result.id in str(app.control.inspect([worker.hostname]).scheduled()), "the task to be held")
    app.control.revoke(result.id, destination=[worker.hostname], reply=True, timeout=5)
    wait_for(lambda: result.id in str(app.control.inspect([worker.hostname]).revoked()), "the task to be revoked")
    assert app.control.purge() == 0


# ---------------------------------------------------------------- accidents


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_a_killed_workers_task_is_given_to_the_next(broker: Broker, unique: str, tmp_path: Path, pool: str) -> None:
    """With acks_late a task that was under way when its worker was killed is delivered again, and says so."""
    started, release = tmp_path / "started", tmp_path / "release"
    worker = Worker(broker, unique, tmp_path, pool)
    try:
        worker.start()
        with application(broker, unique) as app:
            result = app.tasks["hold"].delay(str(started), str(release))
            wait_for(lambda: started.exists() and started.read_text(), "the task to be started", timeout=DEADLINE)
            worker.kill()
            release.touch()
            worker.start()
            assert get(result) is True
        assert started.read_text() == "started\nstarted\n"
        worker.stop()
    finally:
        worker.kill()
    with kombu.Connection(broker.url) as connection:
        assert connection.default_channel.queue_delete(unique) == 0


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
def test_a_worker_survives_a_restart_of_the_broker(
    own_broker: OwnBroker, unique: str, tmp_path: Path, crash: bool
) -> None:
    """Tasks sent before the restart are done after it: queue, binding and messages are durable."""
    worker = Worker(own_broker, unique, tmp_path)
    started, release = tmp_path / "started", tmp_path / "release"
    try:
        worker.start()
        with application(own_broker, unique) as app:
            app.tasks["hold"].delay(str(started), str(release))
            waiting = tmp_path / "waiting"
            app.tasks["hold"].delay(str(waiting), str(release))
            wait_for(started.exists, "the task to be started", timeout=DEADLINE)
        own_broker.restart(crash=crash)
        release.touch()
        wait_for(waiting.exists, "the task that waited in the queue", timeout=60)
        with application(own_broker, unique) as app:
            assert get(app.tasks["add"].delay(1, 2)) == 3
        worker.stop()
    finally:
        worker.kill()


# ---------------------------------------------------------------- kombu by itself


def test_simple_queue(broker: Broker, unique: str) -> None:
    with kombu.Connection(broker.url) as connection:
        simple = connection.SimpleQueue(unique)
        for number in range(3):
            simple.put({"number": number}, serializer="json", compression="zlib")
        for number in range(3):
            message = simple.get(timeout=5)
            assert message.payload == {"number": number}
            message.ack()
        with pytest.raises(queue.Empty):
            simple.get(block=False)
        simple.close()
        connection.default_channel.queue_delete(unique)


def test_failover(broker: Broker, unique: str) -> None:
    """The second address of the list is used when nobody listens at the first."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"amqp://127.0.0.1:{nobody.getsockname()[1]}//;{broker.url}"
        with kombu.Connection(url) as connection:
            connection.ensure_connection(max_retries=3, interval_start=0)
            assert connection.as_uri().endswith(f":{broker.port}//")


def test_pyamqp_confirms(broker: Broker, unique: str) -> None:
    """kombu's `confirm_publish`, which Celery passes by `broker_transport_options`."""
    with kombu.Connection(broker.url, transport_options={"confirm_publish": True}) as connection:
        channel = connection.channel()
        target = kombu.Queue(unique, routing_key=unique, exclusive=True)(channel)
        target.declare()
        producer = kombu.Producer(channel)
        for number in range(50):
            producer.publish({"n": number}, routing_key=unique, delivery_mode=2)
        assert target.queue_declare(passive=True).message_count == 50


def test_priorities(broker: Broker, unique: str) -> None:
    """A queue with priorities, as Celery declares it for `queue_arguments={"x-max-priority": 10}`."""
    with kombu.Connection(broker.url) as connection, connection.channel() as channel:
        target = kombu.Queue(unique, routing_key=unique, max_priority=10, exclusive=True)
        producer = kombu.Producer(channel)
        for priority in (1, 9, 5, 0, 10):
            producer.publish({"priority": priority}, routing_key=unique, declare=[target], priority=priority)
        got = []
        bound = target(channel)
        while message := bound.get(no_ack=True, accept=["json"]):
            got.append(message.payload["priority"])
        assert got == [10, 9, 5, 1, 0]


def test_expiry(broker: Broker, unique: str) -> None:
    """Messages and queues with a time to live: the control queues of Celery have both."""
    with kombu.Connection(broker.url) as connection, connection.channel() as channel:
        target = kombu.Queue(unique, routing_key=unique, message_ttl=0.2, expires=1.0)(channel)
        target.declare()
        kombu.Producer(channel).publish("gone", routing_key=unique)
        wait_for(lambda: target.queue_declare(passive=True).message_count == 0, "the message to go")

        def gone() -> bool:
            with connection.channel() as watching:
                try:
                    target(watching).queue_declare(passive=True)
                except connection.channel_errors as error:
                    return error.code == 404
            return False

        wait_for(gone, "the queue to go", interval=1.5)
