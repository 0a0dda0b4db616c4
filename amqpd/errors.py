"""One exception class per AMQP 0-9-1 reply code: what went wrong, how far it reaches, how each face says it.

    AmqpError
    ├── ChannelError      soft: closes the channel (on channel 0: the connection)
    │   ├── ContentTooLarge 311      ├── NotFound 404
    │   ├── NoRoute 312              ├── ResourceLocked 405
    │   ├── NoConsumers 313          └── PreconditionFailed 406
    │   └── AccessRefused 403
    └── ConnectionError_  hard: closes the connection
        ├── ConnectionForced 320     ├── UnexpectedFrame 505
        ├── InvalidPath 402          ├── ResourceError 506
        ├── FrameError 501           ├── NotAllowed 530
        ├── SyntaxError_ 502         ├── NotImplemented_ 540
        ├── CommandInvalid 503       └── InternalError 541
        └── ChannelErrorHard 504

An operation raises one of these; the AMQP face sends the code and `reply_text`, the HTTP face answers `http_status`.
Source: AMQP 0-9-1 section 1.1 (constants); texts as RabbitMQ writes them, `CONSTANT - explanation`, at most 255 octets.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AccessRefused",
    "AmqpError",
    "ChannelError",
    "ChannelErrorHard",
    "CommandInvalid",
    "ConnectionError_",
    "ConnectionForced",
    "ContentTooLarge",
    "FrameError",
    "InternalError",
    "InvalidPath",
    "NoConsumers",
    "NoRoute",
    "NotAllowed",
    "NotFound",
    "NotImplemented_",
    "PreconditionFailed",
    "ResourceError",
    "ResourceLocked",
    "SyntaxError_",
    "UnexpectedFrame",
]

REPLY_TEXT_MAX = 255


class AmqpError(Exception):
    """An error with a reply code.

    `explanation` is the text after the constant's name. `method` is the (class id, method id) that failed where it is
    not the method being executed; None lets the session fill in its own.
    """

    code: ClassVar[int]
    constant: ClassVar[str]
    hard: ClassVar[bool]
    http_status: ClassVar[int] = 400

    def __init__(self, explanation: str, method: tuple[int, int] | None = None) -> None:
        super().__init__(explanation)
        self.explanation = explanation
        self.method = method

    @property
    def reply_text(self) -> str:
        """The text for the wire: `CONSTANT - explanation`, at most 255 octets of UTF-8; a longer one ends in `...`."""
        encoded = f"{self.constant} - {self.explanation}".encode("utf-8", "replace")
        if len(encoded) > REPLY_TEXT_MAX:
            encoded = encoded[: REPLY_TEXT_MAX - 3] + b"..."
        return encoded.decode("utf-8", "ignore")


class ChannelError(AmqpError):
    """A soft error: the channel that caused it is closed, the connection lives on."""

    hard = False


class ConnectionError_(AmqpError):
    """A hard error: the connection is closed."""

    hard = True


class ContentTooLarge(ChannelError):
    code = 311
    constant = "CONTENT_TOO_LARGE"
    http_status = 413


class NoRoute(ChannelError):
    code = 312
    constant = "NO_ROUTE"


class NoConsumers(ChannelError):
    code = 313
    constant = "NO_CONSUMERS"


class AccessRefused(ChannelError):
    code = 403
    constant = "ACCESS_REFUSED"
    http_status = 403


class NotFound(ChannelError):
    code = 404
    constant = "NOT_FOUND"
    http_status = 404


class ResourceLocked(ChannelError):
    code = 405
    constant = "RESOURCE_LOCKED"


class PreconditionFailed(ChannelError):
    code = 406
    constant = "PRECONDITION_FAILED"


class ConnectionForced(ConnectionError_):
    code = 320
    constant = "CONNECTION_FORCED"
    http_status = 503


class InvalidPath(ConnectionError_):
    code = 402
    constant = "INVALID_PATH"


class FrameError(ConnectionError_):
    code = 501
    constant = "FRAME_ERROR"


class SyntaxError_(ConnectionError_):
    code = 502
    constant = "SYNTAX_ERROR"


class CommandInvalid(ConnectionError_):
    code = 503
    constant = "COMMAND_INVALID"


class ChannelErrorHard(ConnectionError_):
    """504, which AMQP calls channel-error although it closes the connection."""

    code = 504
    constant = "CHANNEL_ERROR"


class UnexpectedFrame(ConnectionError_):
    code = 505
    constant = "UNEXPECTED_FRAME"


class ResourceError(ConnectionError_):
    code = 506
    constant = "RESOURCE_ERROR"
    http_status = 503


class NotAllowed(ConnectionError_):
    code = 530
    constant = "NOT_ALLOWED"


class NotImplemented_(ConnectionError_):
    code = 540
    constant = "NOT_IMPLEMENTED"
    http_status = 405


class InternalError(ConnectionError_):
    code = 541
    constant = "INTERNAL_ERROR"
    http_status = 500
