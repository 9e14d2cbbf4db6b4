"""The recipes of docs/deploy can be read, their commands are ours, and their scripts do what they say."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import cellq
from cellq.cli import cli

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"


def understood(words: list[str]) -> click.Command:
    """The command that these words call, parsed with its options; fails as the command line would."""
    assert words[0] == "cellq"
    group: Any = cli
    command = group.get_command(click.Context(group), words[1])
    assert command is not None, f"there is no command cellq {words[1]}"
    with command.make_context(words[1], words[2:], resilient_parsing=False):
        return command


def unit() -> configparser.ConfigParser:
    class Unit(configparser.ConfigParser):
        def optionxform(self, optionstr: str) -> str:
            return optionstr

    found = Unit(strict=False)
    found.read(DEPLOY / "cellq-worker.service")
    return found


def manifests() -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()) if found]


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CELLQ_URL", f"sqlite:///{tmp_path}/jobs.db")
    monkeypatch.setenv("CELLQ_SECRET", "a secret of the tests only")


def test_systemd_starts_a_worker_and_waits_longer_than_it_drains() -> None:
    service = unit()["Service"]
    words = shlex.split(service["ExecStart"])
    understood(["cellq", *words[1:]])
    assert int(service["TimeoutStopSec"]) > float(words[words.index("--drain") + 1])


def test_the_image_starts_a_worker_without_a_shell_in_between() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    parts = [yaml.safe_load(re.search(rf"^{word} (\[.*\])$", text, re.M)[1]) for word in ("ENTRYPOINT", "CMD")]  # type: ignore[index]
    understood([*parts[0], *parts[1]])


def test_kubernetes_starts_a_worker_and_waits_longer_than_it_drains() -> None:
    pod = manifests()[0]["spec"]["template"]["spec"]
    arguments = pod["containers"][0]["args"]
    understood(["cellq", "worker", *arguments])
    assert pod["terminationGracePeriodSeconds"] > float(arguments[arguments.index("--drain") + 1])


def test_kubernetes_counts_the_slots_that_its_workers_have() -> None:
    worker, scaler = (found["spec"]["template"]["spec"]["containers"][0] for found in manifests()[:2])
    slots = next(one["value"] for one in scaler["env"] if one["name"] == "SLOTS")
    assert slots == worker["args"][worker["args"].index("-n") + 1]


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_slurm_starts_a_worker_with_the_processors_of_its_task(tmp_path: Path) -> None:
    executable(tmp_path / "cellq", '#!/bin/sh\necho "$@"\n')
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "4"}
    ran = subprocess.run(
        ["bash", str(DEPLOY / "slurm.sh")], env=environment, capture_output=True, text=True, timeout=30, check=True
    )
    words = ran.stdout.split()
    understood(["cellq", *words])
    assert words[words.index("-n") + 1] == "4"


@pytest.mark.parametrize(("jobs", "replicas"), [(0, 0), (3, 2), (100, 5)])
def test_the_autoscaler_asks_for_a_worker_per_so_many_jobs(tmp_path: Path, jobs: int, replicas: int) -> None:
    with cellq.Queue(os.environ["CELLQ_URL"]) as queue:
        queue.map(abs, range(jobs))
        assert sum(queue.count().values()) == jobs
    asked = tmp_path / "asked"
    executable(tmp_path / "kubectl", f'#!/bin/sh\necho "$@" > {asked}\n')
    executable(tmp_path / "cellq", f'#!/bin/sh\nexec {sys.executable} -P -m cellq "$@"\n')
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ROUNDS": "1", "MOST": "5"}
    subprocess.run(["sh", str(DEPLOY / "autoscale.sh")], env=environment, timeout=60, check=True)
    assert asked.read_text().split() == ["scale", "deployment/cellq-worker", f"--replicas={replicas}"]
