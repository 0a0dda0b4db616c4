"""The broker's control socket as a TCP port, for clients of the HTTP API that cannot speak to a unix socket."""

from __future__ import annotations

import socket
from pathlib import Path
from threading import Thread

__all__ = ["Forward"]


class Forward:
    """Takes connections on a free port of this machine and passes their bytes to and from a unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.thread = Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            control = socket.socket(socket.AF_UNIX)
            try:
                control.connect(str(self.path))
            except OSError:
                client.close()
                control.close()
                continue
            back = Thread(target=pipe, args=(control, client), daemon=True)
            back.start()
            Thread(target=self.serve, args=(client, control, back), daemon=True).start()

    def serve(self, client: socket.socket, control: socket.socket, back: Thread) -> None:
        with client, control:
            pipe(client, control)
            back.join()

    def close(self) -> None:
        """Take no more connections."""
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.thread.join()


def pipe(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until one side is done."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
