"""The image: what is in it, and that it starts as the Dockerfile and the chart say.

Assembles the same root file system that the Dockerfile copies.
"""

from __future__ import annotations

import argparse
import functools
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import chart
import sandbox
from chart import Failure

MEGABYTES_MAX = 80
PENSTOCK = "/usr/bin/penstock"


@functools.cache
def rootfs(penstock: Path) -> Path:
    folder = chart.ROOT / ".dev" / "image" / "rootfs"
    chart.must(chart.ROOT / "dev" / "image", "--penstock", penstock, folder)
    return folder


def says(folder: Path, arguments: list[str], wanted: str, **options: object) -> None:
    done = sandbox.run(folder, [PENSTOCK, *arguments], **options)
    if done.returncode != 0 or wanted not in done.stdout + done.stderr:
        raise Failure(f"code {done.returncode}: {done.stdout}{done.stderr}")


def it_tells_its_version(folder: Path) -> None:
    version = re.search(r'^version = "(.*)"', (chart.ROOT / "Cargo.toml").read_text(), re.M)[1]
    says(folder, ["--version"], f"penstock {version}")
    if chart.yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["appVersion"] != version:
        raise Failure(f"appVersion of the chart is not {version}")


def it_checks_its_configuration(folder: Path) -> None:
    says(folder, ["config", "check"], "")
    done = sandbox.run(folder, [PENSTOCK, "config", "check"], env={"PENSTOCK__KAFKA__GRUP": "x"})
    if done.returncode != 2:
        raise Failure(f"a wrong key ended with code {done.returncode}: {done.stderr}")


def it_checks_table_files_that_are_mounted(folder: Path) -> None:
    mounts = {"/etc/penstock/tables": chart.ROOT / "schemas"}
    says(folder, ["check", "/etc/penstock/tables"], "clicks", mounts=mounts)


def it_can_write_nowhere_and_is_not_root(folder: Path) -> None:
    found = []
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if path.is_symlink():
            continue
        if mode & (stat.S_ISUID | stat.S_ISGID) or mode & stat.S_IWOTH:
            found.append(str(path))
    if found:
        raise Failure(f"setuid, or writable for all: {found}")


def it_has_no_shell_and_no_package_manager(folder: Path) -> None:
    names = [path.name for path in (folder / "usr" / "bin").iterdir()]
    if names != ["penstock"]:
        raise Failure(f"in /usr/bin there is {names}")


def it_is_small(folder: Path) -> None:
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if size > MEGABYTES_MAX * 1_000_000:
        raise Failure(f"{size / 1e6:.1f} MB are more than {MEGABYTES_MAX}")


def it_says_where_its_libraries_come_from(folder: Path) -> None:
    records = {path.name: path.read_text() for path in (folder / "var/lib/dpkg/status.d").iterdir()}
    for package in ("libc6", "libssl3", "ca-certificates"):
        if f"Package: {package}\n" not in records.get(package, ""):
            raise Failure(f"there is no record of {package}")
    if not (folder / "usr/share/doc/penstock/Cargo.lock").is_file():
        raise Failure("Cargo.lock is missing")


def the_dockerfile_ends_as_the_chart_expects(_folder: Path) -> None:
    stages = (chart.ROOT / "Dockerfile").read_text().split("\nFROM ")
    last = stages[-1]
    context = chart.render().of("Deployment")["spec"]["template"]["spec"]["securityContext"]
    for wanted in (
        "scratch\n",
        f"USER {context['runAsUser']}:{context['runAsGroup']}\n",
        f'ENTRYPOINT ["{PENSTOCK}"]\n',
    ):
        if wanted not in last:
            raise Failure(f"the last stage lacks {wanted!r}")
    if "dev/image --penstock target/dist/penstock /rootfs" not in stages[-2] or "COPY --from=build /rootfs/ /\n" not in last:
        raise Failure("the last stage does not copy what dev/image makes")


def checks(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], None]]]:
    folder = rootfs(options.penstock)
    for check in (
        it_tells_its_version,
        it_checks_its_configuration,
        it_checks_table_files_that_are_mounted,
        it_can_write_nowhere_and_is_not_root,
        it_has_no_shell_and_no_package_manager,
        it_is_small,
        it_says_where_its_libraries_come_from,
        the_dockerfile_ends_as_the_chart_expects,
    ):
        yield check.__name__.replace("_", " "), lambda check=check: check(folder)
