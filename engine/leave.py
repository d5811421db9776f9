"""Ends this process at once, where nobody would notice the difference.

To take an interpreter with its modules apart takes a third as long as to start it, and the system gives
the memory back by itself.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading

_TOOLS = 6
"""Numbers of tools in `sys.monitoring`."""


def leave(code: int) -> None:
    """End the process with an exit code after what was registered for its end; return if it must be
    left as any process is: a thread would be waited for, a profiler tells its findings last, or the
    output cannot be written, which Python then says.
    """
    main = threading.main_thread()
    if any(not thread.daemon and thread is not main for thread in threading.enumerate()):
        return
    if _is_watched():
        return
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return
    os._exit(code)


def _is_watched() -> bool:
    """Whether a debugger, a profiler or a measure of coverage follows this process."""
    if sys.gettrace() is not None or sys.getprofile() is not None:
        return True
    monitoring = getattr(sys, "monitoring", None)
    return monitoring is not None and any(monitoring.get_tool(i) for i in range(_TOOLS))
