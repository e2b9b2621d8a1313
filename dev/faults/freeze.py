"""Stops one thread of a process, as a lock that is never given back would: `freeze.py PID NAME`, until its input ends.

The thread is stopped by ptrace, which no signal can do: that would stop all of them. When this process ends it goes on.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

SEIZE, INTERRUPT = 0x4206, 0x4207


def main(process: str, name: str) -> int:
    tasks = Path("/proc") / process / "task"
    found = [int(task.name) for task in tasks.iterdir() if (task / "comm").read_text().strip() == name]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    for thread in found:
        for request in (SEIZE, INTERRUPT):
            if libc.ptrace(request, thread, None, None) != 0:
                sys.exit(f"thread {thread}: {os.strerror(ctypes.get_errno())}")
    if not found:
        sys.exit(f"process {process} has no thread {name}")
    print("frozen", flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
