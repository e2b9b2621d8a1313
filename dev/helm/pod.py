"""What a node would make of the rendered Deployment, and what can be asked of it from outside.

Volumes are laid out as the kubelet does it. Knows nothing of what is expected of the pod.
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import chart
import image
import sandbox
from chart import Failure

PATIENCE_SECONDS = 60
SERIES_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def wait_for(what: str, question: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> object:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = question()
        if answer:
            return answer
        time.sleep(0.1)
    raise Failure(f"waited {seconds:.0f} s in vain: {what}")


def get(url: str) -> tuple[int, str]:
    """Status and body; 0 when nobody answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


class Pod:
    """What a node would make of the rendered Deployment."""

    def __init__(self, folder: Path, values: dict, rootfs: Path, secrets: dict[str, dict[str, str]]) -> None:
        self.folder, self.rootfs, self.secrets = folder, rootfs, secrets
        self.volumes: dict[str, Path] = {}
        self.log = folder / "log"
        self.process: subprocess.Popen | None = None
        self.change(values)

    def change(self, values: dict) -> None:
        """Renders anew, and exchanges what is mounted as the kubelet would."""
        self.objects = chart.render(values)
        self.spec = self.objects.of("Deployment")["spec"]["template"]["spec"]
        self.container = self.spec["containers"][0]
        for volume in self.spec["volumes"]:
            self.volumes[volume["name"]] = self.folder / volume["name"]
            sandbox.lay_out(self.volumes[volume["name"]], self.content(volume))

    def content(self, volume: dict) -> dict[str, str]:
        if "secret" in volume:
            return self.secrets[volume["secret"]["secretName"]]
        if "configMap" in volume:
            return self.objects.of("ConfigMap", volume["configMap"]["name"])["data"]
        found = {}
        for source in volume["projected"]["sources"]:
            data = self.objects.of("ConfigMap", source["configMap"]["name"])["data"]
            found |= {item["path"]: data[item["key"]] for item in source["configMap"]["items"]}
        return found

    def mounts(self) -> dict[str, Path]:
        return {mount["mountPath"]: self.volumes[mount["name"]] for mount in self.container["volumeMounts"]}

    def environment(self) -> dict[str, str]:
        return {v["name"]: v["value"] for v in self.container["env"]}

    def start(self) -> None:
        arguments = [image.PENSTOCK, *self.container["args"]]
        self.process = sandbox.start(self.rootfs, arguments, self.mounts(), self.environment(), self.log)

    def once(self, arguments: list[str]) -> None:
        """A command in a container like the pod's."""
        done = sandbox.run(self.rootfs, [image.PENSTOCK, *arguments], self.mounts(), self.environment())
        if done.returncode != 0:
            raise Failure(
                f"penstock {' '.join(arguments)} ended with code {done.returncode}: {done.stdout}{done.stderr}"
            )

    def get(self, path: str) -> tuple[int, str]:
        return get(f"http://127.0.0.1:{self.container['ports'][0]['containerPort']}{path}")

    def probe(self, name: str) -> bool:
        if self.process.poll() is not None:
            raise Failure(f"the process ended with code {self.process.returncode}: {self.log.read_text()[-2000:]}")
        return self.get(self.container[name]["httpGet"]["path"])[0] == 200

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Scrapes:
    """All series that were ever seen: label names and values by metric."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.labels: dict[str, set[str]] = {}
        self.values: dict[tuple[str, str], set[str]] = {}
        self.text = ""

    def take(self) -> None:
        status, self.text = self.pod.get("/metrics")
        if status != 200:
            raise Failure(f"/metrics answers {status}")
        for line in self.text.splitlines():
            if line.startswith("#") or not line:
                continue
            series = line.rpartition(" ")[0]
            name, _, inside = series.partition("{")
            pairs = dict(SERIES_LABEL.findall(inside))
            self.labels.setdefault(name, set()).update(pairs)
            for label, value in pairs.items():
                self.values.setdefault((name, label), set()).add(value)

    def value(self, series: str) -> float | None:
        """The sum of the series whose text begins so; None without any."""
        self.take()
        found = [float(line.rpartition(" ")[2]) for line in self.text.splitlines() if line.startswith(series)]
        return sum(found) if found else None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
