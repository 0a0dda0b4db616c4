"""How amqpctl reaches the broker: HTTP over the control socket, and every way in which that can fail.

The exit codes are those of RabbitMQ's tools (sysexits.h), so that scripts written for rabbitmqctl understand them.
http.client rather than aiohttp: a command of 0.2 s would take 0.5 s.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

__all__ = [
    "EX_CONFIG",
    "EX_DATAERR",
    "EX_NOUSER",
    "EX_SOFTWARE",
    "EX_TEMPFAIL",
    "EX_UNAVAILABLE",
    "EX_USAGE",
    "Answer",
    "Api",
    "Failure",
]

EX_USAGE = 64
EX_DATAERR = 65
EX_NOUSER = 67
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_TEMPFAIL = 75
EX_CONFIG = 78


class Failure(Exception):
    """Why a command ends badly: what to say, and with which exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Answer(NamedTuple):
    """What the broker answers."""

    value: Any
    """The body, None when there is none."""
    headers: Mapping[str, str]


class ControlConnection(http.client.HTTPConnection):
    """HTTP to a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Api:
    """The management API of the broker that keeps its data in `data_dir`; requests take at most `timeout` seconds."""

    def __init__(self, data_dir: Path, timeout: float) -> None:
        self.data_dir = data_dir
        self.path = data_dir / "control.sock"
        self.timeout = timeout

    def get(self, *path: str, missing: Failure | None = None, **query: str) -> Any:
        """What is there. `missing` is raised when nothing is."""
        return self.request("GET", path, query, missing=missing).value

    def put(self, *path: str, body: object = None, missing: Failure | None = None, refusal: int = EX_DATAERR) -> Answer:
        """Make it so. `refusal` is the exit code of what the broker does not accept."""
        return self.request("PUT", path, {}, body=body, missing=missing, refusal=refusal)

    def post(
        self, *path: str, body: object = None, missing: Failure | None = None, refusal: int = EX_DATAERR
    ) -> Answer:
        """Do it."""
        return self.request("POST", path, {}, body=body, missing=missing, refusal=refusal)

    def delete(self, *path: str, missing: Failure | None = None, reason: str = "", **query: str) -> Answer:
        """Away with it, for this reason where one is told."""
        return self.request("DELETE", path, query, missing=missing, reason=reason)

    def request(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, str],
        *,
        body: object = None,
        missing: Failure | None = None,
        reason: str = "",
        refusal: int = EX_DATAERR,
    ) -> Answer:
        """One request. Raises Failure."""
        # A header is one line.
        headers = {"X-Reason": " ".join(reason.split()).encode("utf-8", "replace")} if reason else {}
        payload = None if body is None else json.dumps(body).encode("ascii")
        with self.talking() as connection:
            connection.request(method, target_of(path, query), payload, headers)
            response = connection.getresponse()
            data = response.read()
            value = json.loads(data) if data else None
        if response.status >= 400:
            raise (
                missing if missing is not None and response.status == 404 else refused(response.status, value, refusal)
            )
        return Answer(value, dict(response.headers))

    def lines(self, *path: str, missing: Failure | None = None, **query: str) -> Iterator[str]:
        """What is there, line by line as it comes. Raises Failure."""
        with self.talking() as connection:
            connection.request("GET", target_of(path, query))
            response = connection.getresponse()
            if response.status >= 400:
                value = json.loads(response.read())
                raise (
                    missing
                    if missing is not None and response.status == 404
                    else refused(response.status, value, EX_DATAERR)
                )
            while line := response.readline():
                yield line.decode().rstrip("\n")

    @contextmanager
    def talking(self) -> Iterator[ControlConnection]:
        """A connection for one request; what can go wrong with it becomes a Failure."""
        connection = ControlConnection(self.path, self.timeout)
        try:
            yield connection
        except TimeoutError:
            text = f"the broker did not answer in time. Timeout value used: {self.timeout:g} seconds"
            raise Failure(EX_TEMPFAIL, text) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failure(EX_UNAVAILABLE, self.unreachable(error)) from None
        finally:
            connection.close()

    def unreachable(self, error: Exception) -> str:
        """Why the broker could not be spoken to, and what may help."""
        head = f"unable to reach the broker with the data directory {self.data_dir}"
        if isinstance(error, FileNotFoundError):
            return (
                f"{head}: there is no control socket ({self.path}).\nIs the broker running? "
                "If its data is elsewhere, say so with --data-dir or AMQPD_DATA_DIR."
            )
        if isinstance(error, ConnectionRefusedError):
            return f"{head}: nobody listens on {self.path}. The broker is not running."
        if isinstance(error, PermissionError):
            return (
                f"{head}: no permission to open {self.path}. Run amqpctl as the user that runs the broker, or as root."
            )
        return f"{head}: {error}"


def target_of(path: tuple[str, ...], query: Mapping[str, str]) -> str:
    """What is asked for, as the request's first line has it."""
    target = "/api/" + "/".join(quote(part, safe="", errors="surrogateescape") for part in path)
    return f"{target}?{urlencode(query)}" if query else target


def refused(status: int, value: Any, code: int) -> Failure:
    """What the broker has against the request, and the exit code if that is not its own fault."""
    said = value.get("reason") if isinstance(value, dict) else None
    return Failure(EX_SOFTWARE if status >= 500 else code, said or f"the broker answered with status {status}")
