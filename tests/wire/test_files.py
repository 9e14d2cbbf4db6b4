"""An open file of a cell is opened again where it was; what is no file on disk is refused."""

from __future__ import annotations

import csv
import gzip
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cellq.errors import NotPicklable
from cellq.wire import files
from cellq.wire.pickling import dumps, loads

TEXT = "eins\nzwei\ndrei\n"


def there(value: Any) -> Any:
    return loads(*dumps(value, anew=True))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def opened_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_an_open_file_is_no_argument_of_a_call(path: Path) -> None:
    with path.open() as file, pytest.raises(NotPicklable, match="open file"):
        dumps(file)


def test_a_text_file_is_at_its_line(path: Path) -> None:
    with path.open() as file:
        file.readline()
        with there(file) as again:
            assert (again.readline(), again.name, again.mode) == ("zwei\n", str(path), "r")
        assert file.readline() == "zwei\n"


@pytest.mark.parametrize(("mode", "kind"), [("rb", io.BufferedReader), ("rb+", io.BufferedRandom)])
def test_a_binary_file_is_at_its_byte(path: Path, mode: str, kind: type) -> None:
    with path.open(mode) as file:
        file.read(5)
        with there(file) as again:
            assert (type(again), again.mode, again.read(4)) == (kind, mode, b"zwei")


def test_a_file_without_a_buffer(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        file.read(5)
        with there(file) as again:
            assert (type(again), again.read(4)) == (io.FileIO, b"zwei")


@pytest.mark.parametrize("mode", ["w", "x", "w+", "x+"])
def test_what_was_written_is_not_lost_by_opening_again(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "new"
    with path.open(mode) as file:
        file.write("one ")
        with there(file) as again:
            assert (again.mode, path.read_text()) == (mode, "one ")
            again.write("two")
        assert path.read_text() == "one two"


def test_appending_stays_appending(path: Path) -> None:
    with path.open("a") as file, there(file) as again:
        with path.open("a") as other:
            other.write("vier\n")
        again.write("five\n")
    assert path.read_text() == TEXT + "vier\nfive\n"


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("mode", ["r", "r+", "w", "a"])
@pytest.mark.parametrize("start", ["", "\n", "ab\r\ncd\n"])
def test_line_ends_are_treated_alike(tmp_path: Path, newline: str | None, mode: str, start: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(start.encode())
    with path.open(mode, newline=newline) as file:
        if mode[0] == "r":
            file.readline()
        with there(file) as again:
            assert files._newline(again) == newline
            if mode[0] == "r":
                rest = again.read()
            else:
                again.write("x\n")
        if mode[0] == "r":
            assert rest == file.read()
        else:
            end = {"\r": b"x\r", "\r\n": b"x\r\n"}.get(newline or "", b"x\n")
            assert path.read_bytes().endswith(end)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "latin-1", "shift-jis"])
def test_an_encoding_goes_on_in_the_middle(tmp_path: Path, encoding: str) -> None:
    path, lines = tmp_path / "f", ["あい\n", "うえ\n"] if encoding == "shift-jis" else ["äö\n", "üß\n"]
    with path.open("w", encoding=encoding) as file:
        file.write(lines[0])
        with there(file) as again:
            again.write(lines[1])
    assert path.read_text(encoding=encoding) == "".join(lines)
    with path.open(encoding=encoding, errors="replace") as file:
        assert file.readline() == lines[0]
        assert file.read(1) == lines[1][0]
        with there(file) as again:
            assert (again.read(), again.encoding, again.errors) == (lines[1][1:], encoding, "replace")


def test_a_relative_name_is_found_from_elsewhere(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with open("lines.txt") as file:
        body = dumps(file, anew=True)
        monkeypatch.chdir("/")
        with loads(*body) as again:
            assert (again.name, again.readline()) == ("lines.txt", "eins\n")
        if Path("/proc/self/fd").exists():  # where it is can be asked
            with there(file) as again:
                assert again.readline() == "eins\n"


def test_a_closed_file_is_closed(path: Path) -> None:
    with path.open("rb") as binary, path.open("rb", buffering=0) as raw, path.open("a") as file:
        pass
    again = there([file, binary, raw])
    assert [part.closed for part in again] == [True, True, True]
    assert [type(part) for part in again] == [io.TextIOWrapper, io.BufferedReader, io.FileIO]
    assert [(part.name, part.mode) for part in again] == [(str(path), mode) for mode in ("a", "rb", "rb")]


def test_a_closed_text_file_in_an_archive_is_closed(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "z.gz", "wt") as file:
        file.write("x")
    assert there(file).closed


def held_pipe(path: Path) -> Any:
    read, write = os.pipe()
    os.close(write)
    return os.fdopen(read)


def held_deleted(path: Path) -> Any:
    file = path.open()
    path.unlink()
    return file


def held_replaced(path: Path) -> Any:
    file = path.open()
    path.rename(path.with_name("old"))
    path.write_text("another")
    if Path("/proc/self/fd").exists():  # there it is found under its new name
        path.with_name("old").unlink()
    return file


def held_loop(path: Path) -> Any:
    file = path.open()
    next(file)
    return file


def held_temporary(path: Path) -> Any:
    return tempfile.NamedTemporaryFile(dir=path.parent)


def held_archive(path: Path) -> Any:
    return zipfile.ZipFile(path.with_name("a.zip"), "w")


def held_gzip(path: Path) -> Any:
    return gzip.open(path.with_name("z.gz"), "wt")


def held_reader(path: Path) -> Any:
    return csv.reader(path.open())


@pytest.fixture
def held(request: pytest.FixtureRequest, path: Path) -> Iterator[Any]:
    thing = request.param(path)
    yield thing
    getattr(thing, "close", lambda: None)()


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (held_pipe, "is an open file"),
        (held_deleted, "is an open file .* no longer found"),
        (held_replaced, "is an open file .* no longer found"),
        (held_loop, "is an open file .* that a loop is reading"),
        (held_temporary, "is a temporary file"),
        (held_archive, "is an archive that is being written"),
        (held_gzip, "is an open file"),
        (held_reader, "is a csv reader that is in use"),
    ],
    indirect=["held"],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_be_opened_again_is_refused(held: Any, why: str) -> None:
    with pytest.raises(NotPicklable, match=why):
        dumps([held], anew=True)


def test_a_file_that_is_missing_fails_on_the_way_out_and_comes_home_closed(path: Path) -> None:
    with path.open() as file:
        body = dumps([file, "more"], anew=True)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        loads(*body)
    with pytest.warns(UserWarning, match="came back closed"):
        again, more = loads(*body, homeward=True)
    assert (again.closed, more) == (True, "more")


def test_an_archive_that_is_read_goes_on(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", "content")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, there(archive) as again:
        assert again.read("x") == b"content"


@pytest.mark.parametrize("delete", [True, False])
def test_a_temporary_file_that_is_closed_leaves_its_name(tmp_path: Path, delete: bool) -> None:
    with tempfile.NamedTemporaryFile("w", dir=tmp_path, delete=delete) as file:
        file.write("a")
    found = there({"file": file})["file"]
    assert found.closed
    assert found.name == file.name
    del found
    assert Path(file.name).exists() is not delete


def test_csv_readers_and_writers(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow([1, 2])
        file2, writer2 = there((file, writer))
        with file2:
            writer2.writerow([3, 4])
    assert path.read_text() == "1;2\n3;4\n"
    with pytest.raises(ValueError, match="closed"):
        there(writer).writerow([1])
    with path.open() as file:
        reader = csv.DictReader(file, delimiter=";")
        assert len(list(reader)) == 1
    assert there(reader).fieldnames == ["1", "2"]


def test_a_file_is_moved_to_its_copy_and_forgets_what_it_read_ahead(path: Path) -> None:
    with path.open("r+") as file:
        file.readline()
        copy = there(file)
        copy.write("ZWEI")
        copy.flush()
        files.move(file, copy)
        assert copy.closed
        file.seek(0)
        assert file.read() == "eins\nZWEI\ndrei\n"


def test_the_streams_of_the_process_are_never_closed() -> None:
    files.close([__import__("sys").__stdout__, __import__("sys").__stdin__])
    assert not __import__("sys").__stdout__.closed


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors can be counted here only")
def test_no_descriptor_is_left(path: Path) -> None:
    with path.open() as file:
        before = opened_descriptors()
        for _ in range(3):
            copy = there([file, file])[0]
            files.close([copy])
        assert opened_descriptors() == before
