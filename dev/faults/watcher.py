"""A real Prometheus that watches releases by the shipped rules, and remembers what fired.

Knows nothing of what should fire. Releases come and go while it runs; each has its own jobs and its own copy of the
rules.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import chart
import scale
import yaml
from chart import ADMIN_RULES, RULES, Failure
from pod import free_port, get, wait_for
from release import Release

SCRAPE_SECONDS = 15


class Watcher:
    def __init__(self, folder: Path, factor: float) -> None:
        self.folder, self.factor, self.port = folder, factor, free_port()
        self.process: subprocess.Popen | None = None
        self.lock = threading.Lock()
        for part in ("rules", "targets"):
            (folder / part).mkdir(parents=True)
        interval = scale.shorter(f"{SCRAPE_SECONDS}s", factor)
        scrape = {
            "job_name": "releases",
            "file_sd_configs": [{"files": [f"{folder}/targets/*.yaml"], "refresh_interval": "1s"}],
        }
        config = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [f"{folder}/rules/*.yaml"],
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                chart.bound(
                    chart.tools() / "bin" / "prometheus",
                    f"--config.file={self.folder}/prometheus.yaml",
                    f"--storage.tsdb.path={self.folder}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--web.enable-lifecycle",
                    # A query sees what was scraped last, and a series that is gone is gone as fast as the clock is.
                    f"--query.lookback-delta={scale.shorter('5m', self.factor)}",
                ),
                stdout=log,
                stderr=log,
            )
        wait_for("Prometheus", lambda: get(self.address("/-/ready"))[0] == 200)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def reload(self) -> None:
        with self.lock:
            urllib.request.urlopen(urllib.request.Request(self.address("/-/reload"), method="POST"), timeout=30).close()

    def add(self, release: Release) -> None:
        targets = []
        for number, part in enumerate(release.parts()):
            job = f"{release.name}-admin" if part.startswith("admin") else release.name
            labels = {"job": job, "pod": f"{job}-{number}", "namespace": "faults"}
            targets.append({"targets": [f"127.0.0.1:{release.ports[part]}"], "labels": labels})
        _exchange(self.folder / "targets" / f"{release.name}.yaml", yaml.safe_dump(targets))
        self.await_up(release)
        # As the chart has it: what the admin process tells is judged where there is one.
        files = [RULES, ADMIN_RULES] if release.has_admin else [RULES]
        _exchange(self.folder / "rules" / f"{release.name}.yaml", scale.made(files, release.name, self.factor))
        self.reload()

    def await_up(self, release: Release) -> None:
        up = f'sum(up{{job=~"{release.name}|{release.name}-admin"}})'
        wait_for(f"{release.name} is scraped", lambda: self.number(up) == len(release.parts()))

    def remove(self, release: Release) -> None:
        for part in ("rules", "targets"):
            (self.folder / part / f"{release.name}.yaml").unlink(missing_ok=True)
        self.reload()

    def ask(self, expression: str) -> list[dict]:
        status, text = get(self.address(f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}"))
        if status != 200:
            raise Failure(f"Prometheus answers {status} to {expression}: {text}")
        return json.loads(text)["data"]["result"]

    def number(self, expression: str) -> float | None:
        found = self.ask(expression)
        return float(found[0]["value"][1]) if found else None

    def now(self, release: Release, state: str = "pending|firing") -> set[str]:
        """Alerts of the release in one of these states at this moment."""
        found = self.ask(f'ALERTS{{job=~"{release.name}|{release.name}-admin", alertstate=~"{state}"}}')
        return {series["metric"]["alertname"] for series in found}

    def fired(self, release: Release, since: float) -> set[str]:
        """Alerts of the release that fired at any time since then."""
        seconds = int(time.time() - since) + 1
        of = f'ALERTS{{job=~"{release.name}|{release.name}-admin", alertstate="firing"}}[{seconds}s]'
        return {series["metric"]["alertname"] for series in self.ask(of)}


def _exchange(path: Path, text: str) -> None:
    """At once: the file is read while it changes."""
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)
