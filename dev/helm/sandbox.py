"""Starts a program in a root file system as a container would: read-only, not root, with nothing but what is mounted.

Knows nothing of penstock. Network and process ids are those of the host, so that servers on 127.0.0.1 are in reach. The
mounts live in a mount namespace of the program and end with it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

USER_ID = 65532

# One process from here on to the program: each step replaces itself by the next.
SCRIPT = """\
set -eu
rootfs="$1"; user="$2"; mounts="$3"; shift 3
mount --bind "$rootfs" "$rootfs"
mount --rbind /proc "$rootfs/proc"
mount --rbind /dev "$rootfs/dev"
# Mount points are made below a file system of their own, so that the assembled files stay as they are.
mount -t tmpfs -o mode=0755 tmpfs "$rootfs/etc/penstock"
for pair in $mounts; do
    mkdir -p "$rootfs/${pair#*=}"
    mount --bind "${pair%%=*}" "$rootfs/${pair#*=}"
    mount -o remount,bind,ro "$rootfs/${pair#*=}"
done
mount -o remount,bind,ro "$rootfs/etc/penstock"
mount -o remount,bind,ro "$rootfs"
exec chroot ${user:+--userspec="$user:$user"} "$rootfs" "$@"
"""


def command(rootfs: Path, arguments: list[str], mounts: dict[str, Path]) -> list[str]:
    """`mounts`: folders of the host by the absolute path that the program sees."""
    is_root = os.geteuid() == 0
    unshare = ["unshare", "--mount", "--propagation", "private", *([] if is_root else ["--user", "--map-root-user"])]
    pairs = " ".join(f"{source}={target}" for target, source in mounts.items())
    # Within a user namespace of one user there is nobody else to become.
    user = str(USER_ID) if is_root else ""
    return [*unshare, "sh", "-c", SCRIPT, "sandbox", str(rootfs), user, pairs, *arguments]


def start(
    rootfs: Path, arguments: list[str], mounts: dict[str, Path], env: dict[str, str], log: Path
) -> subprocess.Popen:
    """The process is the program itself: signals reach it. Both of its streams go to the log."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **env}
    with log.open("ab") as out:
        return subprocess.Popen(command(rootfs, arguments, mounts), env=environment, stdout=out, stderr=out)


def run(
    rootfs: Path, arguments: list[str], mounts: dict[str, Path] | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})}
    return subprocess.run(
        command(rootfs, arguments, mounts or {}),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def lay_out(folder: Path, files: dict[str, str]) -> None:
    """Files in a volume as the kubelet lays them: behind a link that is exchanged at once, so that readers see all of
    the old ones or all of the new ones."""
    folder.mkdir(parents=True, exist_ok=True)
    number = len([path for path in folder.iterdir() if path.name.startswith("..v")])
    version = folder / f"..v{number}"
    for name, text in files.items():
        (version / name).parent.mkdir(parents=True, exist_ok=True)
        (version / name).write_text(text)
    fresh = folder / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.replace(folder / "..data")
    for name in {name.partition("/")[0] for name in files}:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}")
