"""What the system says about memory: how much this process has, how much there is for it; and giving some back.

    used    the resident set: /proc/self/statm. Where there is no /proc (macOS), the largest it has been
    total   the machine's memory (/proc/meminfo), or less where a control group, or one above it, allows less

The files are looked for under `root`, which is another place only in tests.
Source: proc(5), cgroups(7), the kernel's cgroup-v2 (memory.max) and cgroup-v1 (memory.limit_in_bytes) documentation.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath

__all__ = ["give_back", "total", "used"]

ROOT = Path("/")

UNKNOWN_TOTAL = 1 << 30
"""What RabbitMQ assumes where the system does not say."""


def used(root: Path = ROOT) -> int:
    """Octets of memory that this process has; 0 where nobody knows."""
    with suppress(OSError):
        return int((root / "proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    # Windows has no such module.
    with suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return 0


def total(root: Path = ROOT) -> int:
    """Octets of memory that there are for this process."""
    return min([installed(root), *allowed(root)])


def installed(root: Path) -> int:
    with suppress(OSError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "MemTotal":
                return int(rest.split()[0]) * 1024
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return UNKNOWN_TOTAL


def allowed(root: Path) -> Iterator[int]:
    """The limits of the control groups that this process is in, of either version, as far as they can be seen."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if not controllers:
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be the host's, which is not there; the limit is then at the top.
        place = PurePosixPath(path)
        for folder in (place, *place.parents):
            # `max` is no number: no limit.
            with suppress(OSError, ValueError):
                yield int((top / folder.relative_to("/") / name).read_text())


def give_back() -> None:
    """Collect what nobody refers to, and have the allocator hand its free pages to the system."""
    gc.collect()
    trim = allocator_trim()
    if trim is not None:
        trim(0)


@cache
def allocator_trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim, where there is one."""
    with suppress(ImportError, OSError, AttributeError, TypeError):
        import ctypes

        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
        return trim
    return None
