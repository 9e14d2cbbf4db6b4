"""The groups that a notebook has shown are found by the kernels after it, and by nobody else."""

import dataclasses
import os
import pathlib
import time

import pytest

from cellq.ids import new_id
from cellq.notebook.boards import ledger
from cellq.notebook.boards.ledger import Entry
from cellq.notebook.origin import Origin

IDS = [new_id() for _ in range(3)]


@pytest.fixture
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Origin:
    """A cell of a notebook whose kernel is this process."""
    monkeypatch.setenv("CELLQ_HOME", str(tmp_path))
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "work.ipynb"))
    return Origin.here({}, cell="a")


def of_a_dead_kernel(here: Origin, cell: str = "a") -> Origin:
    return dataclasses.replace(here, began=here.began - 100.0, cell=cell)


def names(here: Origin) -> list[str]:
    return [entry.name for entry in ledger.left_behind(here)]


def test_a_group_is_found_with_its_jobs_in_their_order(here: Origin) -> None:
    entry = Entry("cellq-group-1", of_a_dead_kernel(here), "run 1", "sqlite:///jobs.db", IDS)
    ledger.note(entry)
    (found,) = ledger.left_behind(here)
    assert dataclasses.replace(found, shown=0.0) == entry


def test_kernels_that_live_and_other_notebooks_keep_theirs(here: Origin) -> None:
    ledger.note(Entry("mine", here, "run 1", "sqlite:///jobs.db", IDS))
    ledger.note(Entry("left", of_a_dead_kernel(here), "run 1", "sqlite:///jobs.db", IDS))
    assert names(here) == ["left"]
    assert names(dataclasses.replace(here, notebook="/elsewhere.ipynb")) == []
    assert names(dataclasses.replace(here, notebook="")) == []


def test_a_cell_that_is_run_again_has_only_its_latest(here: Origin) -> None:
    dead = of_a_dead_kernel(here)
    for name, cell, run in (("one", "a", "1"), ("two", "a", "1"), ("other", "b", "2"), ("again", "a", "3")):
        ledger.note(Entry(name, dataclasses.replace(dead, cell=cell), run, "sqlite:///jobs.db", IDS))
    assert sorted(names(here)) == ["again", "other"]


def test_what_is_old_or_broken_is_passed_over(here: Origin) -> None:
    dead = of_a_dead_kernel(here)
    ledger.note(Entry("old", dead, "1", "sqlite:///jobs.db", IDS))
    (path,) = (pathlib.Path(os.environ["CELLQ_HOME"]) / "groups").glob("*/old.json")
    os.utime(path, (time.time() - 31 * 86400,) * 2)
    path.with_name("broken.json").write_text('{"ids": "00"')
    path.with_name("foreign.json").write_text("[]")
    ledger.note(Entry("new", dataclasses.replace(dead, cell="b"), "2", "sqlite:///jobs.db", IDS))
    assert names(here) == ["new"]


def test_a_folder_that_cannot_be_written_disturbs_nobody(here: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    file = pathlib.Path(os.environ["CELLQ_HOME"]) / "file"
    file.touch()
    monkeypatch.setenv("CELLQ_HOME", str(file))
    ledger.note(Entry("name", here, "1", "sqlite:///jobs.db", IDS))
    assert names(here) == []
