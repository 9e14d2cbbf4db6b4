"""docs/schedules.md: its code runs as it stands there, and what it says of it holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cellq
from pages import blocks, read_page
from waiting import until

BLOCKS = blocks(read_page("schedules.md"))
MODULES = {block.splitlines()[0][2:]: block for block in BLOCKS if block.startswith("# ")}
CELLS = [block for block in BLOCKS if not block.startswith("# ")]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CELLQ_URL", raising=False)
    monkeypatch.setenv("CELLQ_SECRET", "a secret of the tests only")


def test_the_cells_run_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    assert len(CELLS) == 3
    exec(CELLS[0], space)
    nightly, q = space["nightly"], space["q"]
    assert (nightly.next.hour, nightly.next.minute, str(nightly.next.tzinfo)) == (3, 0, "Europe/Berlin")
    exec(CELLS[1], space)
    assert {one.name: one.options.queue for one in q.schedules()} == {"hourly": "reports", "nightly": "default"}
    exec(CELLS[2], space)
    hourly, replaced = capsys.readouterr().out.splitlines()
    assert hourly.startswith("hourly 0 * * * * UTC ")
    assert replaced.startswith("nightly 30 2 * * * Europe/Berlin ")
    assert [one.name for one in q.schedules()] == ["hourly"]
    with cellq.Worker(q, slots=1):
        assert space["job"].result(30) == "nightly report"
    q.close()


def test_the_program_ticks_until_it_is_stopped(tmp_path: Path) -> None:
    for name, text in MODULES.items():
        (tmp_path / name).write_text(text)
    process = subprocess.Popen([sys.executable, "schedule.py"], cwd=tmp_path, env=dict(os.environ))
    try:
        with cellq.Queue("sqlite:///jobs.db") as queue:

            def ticks() -> bool:
                assert process.poll() is None, "the program has ended"
                return any("cellq:schedules" in worker.queues for worker in queue.workers())

            until(ticks, "the program ticks")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert [(one.name, one.expression, one.missed) for one in queue.schedules()] == [
                ("reports:clean", "*/5 * * * *", "skip"),
                ("reports:make", "0 3 * * MON-FRI", "once"),
            ]
    finally:
        process.kill()
        process.wait()
