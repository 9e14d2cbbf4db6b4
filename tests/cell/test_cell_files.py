"""A file that stays open from cell to cell: the cell goes on where the notebook is, and the notebook where it ended."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from cellq.cell.parcel import pack, unpack
from cellq.cell.returned import collect, merge
from cellq.errors import NotPicklable
from cellq.wire import files, pickling

LINES = "one\ntwo\nthree\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text(LINES)
    return path


def wrapped(source: str, space: dict[str, Any], outputs: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Run a cell in a namespace of its own and bring back what it did; gives the worker's namespace."""
    packed = pack(source, space, outputs)
    parcel = pickling.loads(pickling.pack(packed.parcel))
    there: dict[str, Any] = {"__name__": "__main__"}
    before = unpack(parcel, there)
    exec(parcel.source, there)
    returned = pickling.loads(pickling.pack(collect(there, parcel, before)))
    merge(returned, space, packed.snapshot)
    return there


def test_reading_goes_on_in_the_same_object(path: Path) -> None:
    with path.open() as file:
        space: dict[str, Any] = {"file": file, "line": file.readline(), "also": [file]}
        there = wrapped("line = file.readline()", space)
        assert space["line"] == "two\n"
        assert space["file"] is space["also"][0] is file
        assert there["file"].closed
        assert file.readline() == "three\n"


def test_both_sides_see_what_the_other_has_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as file:
        file.write("home ")
        space = {"file": file, "path": path, "seen": ""}
        wrapped("seen = path.read_text(); file.write('away ')", space)
        assert (space["seen"], path.read_text()) == ("home ", "home away ")
        file.write("home")
    assert path.read_text() == "home away home"


def test_a_file_opened_in_a_cell_is_open_in_the_notebook(path: Path) -> None:
    space: dict[str, Any] = {"path": path}
    wrapped("file = path.open('a'); file.write('four')", space)
    with space["file"] as file:
        file.write("five")
    assert path.read_text() == LINES + "fourfive"


def test_closing_it_in_a_cell_closes_it(path: Path) -> None:
    file = path.open()
    wrapped("file.close()", {"file": file})
    assert file.closed


def test_a_with_that_a_cell_ends_leaves_it_closed(path: Path) -> None:
    file = path.open()
    space = {"held": {"file": file}, "first": ""}
    wrapped("with held['file'] as f: first = f.readline()", space)
    assert (file.closed, space["held"]["file"] is file, space["first"]) == (True, True, "one\n")


def test_a_csv_writer_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        space: dict[str, Any] = {"csv": csv, "file": file, "writer": writer}
        writer.writerow([1, 2])
        wrapped("writer.writerow([3, 4])", space)
        assert space["writer"] is writer
        writer.writerow([5, 6])
        wrapped("other = csv.DictWriter(file, ['a', 'b']); other.writeheader()", space)
        space["other"].writerow({"a": 7, "b": 8})
    assert path.read_text().split() == ["1;2", "3;4", "5;6", "a,b", "7,8"]


def test_what_stays_in_the_worker_is_written_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    there = wrapped("file = path.open('w'); file.write('all of it')", {"path": path}, outputs=())
    assert path.read_text() == "all of it"
    there["file"].close()


def test_a_file_the_cell_did_not_touch_stays_where_the_notebook_has_it(path: Path) -> None:
    with path.open() as file:
        space = {"file": file}
        packed = pack("print(file.name)", space)
        there: dict[str, Any] = {"__name__": "__main__"}
        before = unpack(packed.parcel, there)
        file.readline()  # meanwhile
        merge(collect(there, packed.parcel, before), space, packed.snapshot)
        assert file.readline() == "two\n"
        files.close([there["file"]])


def test_one_that_a_loop_is_reading_is_refused_by_name(path: Path) -> None:
    with path.open() as file:
        next(file)
        with pytest.raises(NotPicklable, match=r"`file`: it is an open file .* that a loop is reading"):
            pack("file.readline()", {"file": file})


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors can be counted here only")
def test_no_descriptor_is_left(path: Path) -> None:
    file = path.open()
    before = len(os.listdir("/proc/self/fd"))
    space = {"file": file, "rows": [1]}
    for source in ("file.readline()", "file.name", "rows.append(file)", "file.seek(0)"):
        wrapped(source, space)
        assert len(os.listdir("/proc/self/fd")) == before, source
    file.close()
