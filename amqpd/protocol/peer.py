"""Who is at the other end of the socket."""

from __future__ import annotations

__all__ = ["Peer"]


class Peer:
    """Both ends of the socket."""

    __slots__ = ("host", "peer_host", "peer_port", "port")

    def __init__(self, peer_host: str, peer_port: int, host: str, port: int) -> None:
        self.peer_host = peer_host
        self.peer_port = peer_port
        self.host = host
        self.port = port

    @property
    def loopback(self) -> bool:
        host = self.peer_host.removeprefix("::ffff:")
        return host.startswith("127.") or host == "::1"

    def __str__(self) -> str:
        return f"{self.peer_host}:{self.peer_port} -> {self.host}:{self.port}"
