"""What this machine offers: processors, memory that is free, memory that this process holds.

Numbers come from the operating system where it tells them, else they are None: whoever asks must
do without.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

KIB = 1024
_MEMINFO = Path("/proc/meminfo")
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))
_STATUS = Path("/proc/self/status")


def cores() -> int:
    """Processors that this process may use, which a container can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory() -> int | None:
    """Bytes of memory of the machine."""
    known = _field(_MEMINFO, "MemTotal")
    if known is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return known


def available_memory() -> int | None:
    """Bytes that can be used now without swapping, within the container's limit if there is one."""
    free = _field(_MEMINFO, "MemAvailable")
    room = _container_room()
    known = [value for value in (free, room) if value is not None]
    return min(known) if known else total_memory()


def peak_memory() -> int:
    """Bytes this process held at most so far; 0 where the system does not tell."""
    # Not `getrusage` on Linux: there a new process begins with the peak of the one that made it.
    known = _field(_STATUS, "VmHWM")
    if known is not None:
        return known
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * KIB


def held_memory() -> int:
    """Bytes this process holds now; the peak where the system tells no more."""
    known = _field(_STATUS, "VmRSS")
    return peak_memory() if known is None else known


def memory_text(size: float) -> str:
    """Bytes as people say them: `740 MiB`, `1.3 GiB`."""
    mib = size / KIB**2
    return f"{mib:.0f} MiB" if mib < 1000 else f"{mib / KIB:.1f} GiB"


def _field(file: Path, key: str) -> int | None:
    """A line `key:  123 kB` of one of the kernel's files, in bytes."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0]) * KIB
    return None


def _container_room() -> int | None:
    """Bytes left under the limit of a Linux control group."""
    try:
        limit, used = (path.read_text().strip() for path in _LIMITS)
    except OSError:
        return None
    return None if limit == "max" else max(int(limit) - int(used), 0)
