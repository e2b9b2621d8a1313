"""What the kernel says of processes and of this machine.

Knows no servers. CPU time is the kernel's account in user space and in the kernel, never wall time.
"""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy_seconds() -> float:
    """What all processes of this machine have used of its cores."""
    user, nice, system, _idle, _wait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def cores() -> int:
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, str]:
    """The machine in words, as it stands beside the figures."""
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False).stdout.split()
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": str(cores()),
        "memory": f"{memory_kib / 2**20:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "rust": rustc[1] if len(rustc) > 1 else "unknown",
    }
