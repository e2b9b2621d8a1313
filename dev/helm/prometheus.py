"""A real Prometheus that scrapes one pod and evaluates the rules that the chart renders for it.

Knows nothing of what should fire. It listens on 127.0.0.1 and keeps its data in the folder that it is given.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import chart
import yaml
from pod import Pod, free_port, get, wait_for


class Prometheus:
    def __init__(self, folder: Path, pod: Pod) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen | None = None
        folder.mkdir()
        rule, monitor = pod.objects.of("PrometheusRule"), pod.objects.of("PodMonitor")
        job = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["replacement"]
        target = f"127.0.0.1:{pod.container['ports'][0]['containerPort']}"
        (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": rule["spec"]["groups"]}))
        scrape = {"job_name": job, "static_configs": [{"targets": [target], "labels": {"pod": "pod-0"}}]}
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    chart.tools() / "bin" / "prometheus",
                    f"--config.file={self.folder}/prometheus.yaml",
                    f"--storage.tsdb.path={self.folder}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )
        wait_for("Prometheus", lambda: get(f"http://127.0.0.1:{self.port}/-/ready")[0] == 200)

    def firing(self) -> set[str]:
        text = get(f"http://127.0.0.1:{self.port}/api/v1/alerts")[1]
        alerts = json.loads(text)["data"]["alerts"] if text else []
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
