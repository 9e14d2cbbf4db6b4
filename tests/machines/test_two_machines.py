"""Work defined in a notebook on one machine runs on another one, also when the cable between them is pulled out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from machines import PATIENCE, Pair
from waiting import until

# A notebook in a real kernel; prints the names it holds in the end.
NOTEBOOK = """
import json, sys
import nbclient, nbformat

cells = [
    "%load_ext cellq",
    "import os, socket\\nclass Box:\\n    def __init__(self, held): self.held = held\\n"
    "def double(box): return Box(2 * box.held)\\nbox = Box(21)",
    "%%enqueue fit --wait\\nbox = double(box)\\nmachine = os.environ['MACHINE']\\nbox.held",
    "print(json.dumps([box.held, type(box) is Box, fit.result(), machine]))",
]
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
notebook.cells[0].source = "import json\\n" + notebook.cells[0].source
try:
    nbclient.NotebookClient(notebook, timeout=90, kernel_name="python3").execute()
except nbclient.exceptions.CellExecutionError:
    sys.exit(nbformat.writes(notebook))
print(notebook.cells[-1].outputs[0]["text"])
"""

# A program that enqueues a job which lasts until a file is there, and prints what it gave.
LONG_JOB = """
import sys, time, os, socket
import cellq

def run(started, go):
    with open(started, "a") as file:
        print(os.getpid(), file=file)
    while not os.path.exists(go):
        time.sleep(0.05)
    return os.environ["MACHINE"]

with cellq.Queue(sys.argv[1]) as queue:
    job = queue.options(retries=int(sys.argv[4])).enqueue(run, sys.argv[2], sys.argv[3])
    machine = job.result(timeout=120)
    job.refresh()
    print(machine, job.attempt)
"""

LEASE = 3.0


def program(pair: Pair, url: str, retries: int) -> tuple[subprocess.Popen[bytes], Path, Path]:
    """Start the program above on the first machine: it, the file that each start of its job is noted in, the other."""
    started, go = pair.first.home / "started", pair.first.home / "go"
    script = pair.first.home / "program.py"
    script.write_text(LONG_JOB)
    process = pair.first.start([sys.executable, "-P", str(script), url, str(started), str(go), str(retries)])
    until(started.exists, "the job has started", PATIENCE)
    return process, started, go


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def test_a_cell_runs_on_the_other_machine(pair: Pair, url: str) -> None:
    pair.second.worker(url, MACHINE="second")
    told = pair.first.run(NOTEBOOK, timeout=120, CELLQ_URL=url, MACHINE="first")
    assert json.loads(told) == [42, True, 42, "second"]


def test_a_cable_that_is_out_for_seconds_loses_and_repeats_nothing(pair: Pair, url: str) -> None:
    pair.second.worker(url, MACHINE="second")
    process, started, go = program(pair, url, retries=1)
    pair.cable.pull_out()
    time.sleep(5.0)  # this long, and not until something happens: that is the trial
    go.touch()
    pair.cable.put_back()
    assert process.wait(60) == 0, pair.first.output()
    assert pair.first.output().split()[-2:] == ["second", "1"]
    assert len(lines(started)) == 1, "the job was started more than once"


def test_a_cable_that_is_out_for_longer_than_the_lease_is_no_loss(pair: Pair, url: str) -> None:
    """Nobody else was there to take the job: the worker that has it still has it."""
    pair.second.worker(url, "--lease", f"{LEASE}", MACHINE="second")
    process, started, go = program(pair, url, retries=0)
    pair.cable.pull_out()
    time.sleep(2 * LEASE)
    go.touch()
    pair.cable.put_back()
    assert process.wait(60) == 0, pair.first.output()
    assert pair.first.output().split()[-2:] == ["second", "1"]
    assert len(lines(started)) == 1, "the job was started more than once"


def test_a_machine_that_is_gone_for_longer_than_the_lease_loses_its_job_to_another(pair: Pair, url: str) -> None:
    """Both end it; what the first one says comes too late and is not recorded."""
    pair.second.worker(url, "--lease", f"{LEASE}", MACHINE="second")
    process, started, go = program(pair, url, retries=1)
    pair.cable.pull_out()
    pair.first.worker(url, "--lease", f"{LEASE}", MACHINE="first")
    until(lambda: len(lines(started)) == 2, "another worker has taken the job over", PATIENCE)
    go.touch()
    assert process.wait(60) == 0, pair.first.output()
    pair.cable.put_back()
    assert pair.first.output().split()[-2:] == ["first", "2"]
    refused = ("no longer ours", "was lost")
    until(lambda: any(words in pair.second.output() for words in refused), "the one that came back was told", PATIENCE)
    look = "import cellq, sys; job = cellq.Queue(sys.argv[1]).recent(1)[0]; print(job.state.value, job.attempt)"
    assert pair.first.run(look, url).split() == ["completed", "2"]
