"""The application that `test_celery.py` and its workers share. A worker finds its broker in the environment."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

BROKER_VARIABLE = "AMQPD_CELERY_BROKER"
QUEUE_VARIABLE = "AMQPD_CELERY_QUEUE"


def application(broker_url: str, queue: str) -> Celery:
    """A new application with its tasks, which are found by their short names in `tasks`."""
    app = Celery("interop", broker=broker_url, backend="rpc://", set_as_current=False)
    app.conf.update(
        task_default_queue=queue,
        task_send_sent_event=True,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        broker_connection_retry_on_startup=True,
        broker_heartbeat=10,
        # A task is sent when the broker has it safe: tests kill the broker and expect it back.
        broker_transport_options={"confirm_publish": True},
        result_expires=60,
        event_queue_expires=60,
    )
    app.task(add, name="add")
    app.task(fail_twice, name="fail_twice", bind=True, max_retries=5)
    app.task(explode, name="explode")
    app.task(now, name="now")
    app.task(hold, name="hold", bind=True, acks_late=True, reject_on_worker_lost=True)
    app.finalize()
    return app


def add(x: int, y: int) -> int:
    """The task of every tutorial."""
    return x + y


def fail_twice(self: Any, name: str) -> int:
    """Fails two times, with a short countdown before it is tried again; gives the number of retries."""
    if self.request.retries < 2:
        raise self.retry(countdown=0.2, exc=ValueError(name))
    return int(self.request.retries)


def explode() -> None:
    """An exception that travels back."""
    raise KeyError("as asked")


def now() -> float:
    """When the task was run."""
    return time.time()


def hold(self: Any, started: str, release: str) -> bool:
    """Notes that it was started, and ends when the file `release` is there. Gives whether it was redelivered."""
    with Path(started).open("a") as note:
        note.write("started\n")
    deadline = time.monotonic() + 60
    while not Path(release).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(self.request.delivery_info.get("redelivered"))


app = application(os.environ.get(BROKER_VARIABLE, "memory://"), os.environ.get(QUEUE_VARIABLE, "interop"))
"""What `celery -A interop.celery_app` finds."""
