"""Nothing outlives the benchmark, even when it is ended by SIGKILL: a process that waits for its end and cleans up.

`python -m tests.bench.guard` reads lines `+PID` and `-PID`. When its input ends, its parent is gone, however that
happened; then the processes named and not taken back are killed, with their descendants.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.support import proc
from tests.support.broker import ROOT

__all__ = ["Guard"]


class Guard:
    """The benchmark's end of the pipe."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.guard"], cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True
        )

    def watch(self, pid: int) -> None:
        """The process is not to outlive the benchmark."""
        self._say(f"+{pid}\n")

    def release(self, pid: int) -> None:
        """The process has ended: its number may soon be another's."""
        self._say(f"-{pid}\n")

    def close(self) -> None:
        """Let the guard go, and with it whoever is still watched."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10.0)

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()


def main() -> None:
    """Wait, then end what is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watched: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        watched.add(pid) if line[0] == "+" else watched.discard(pid)
    for pid in watched:
        for member in proc.tree(pid) if proc.alive(pid) else []:
            try:
                os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                continue


if __name__ == "__main__":
    main()
