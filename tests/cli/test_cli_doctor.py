"""`cellq doctor`: says plainly what is wrong with a store, a secret, a package, and changes nothing."""

import importlib.metadata
import os
import sqlite3

import pytest

import cellq
from cellq.cli import doctor
from cellq.cli.findings import Verdict

posix = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")


def wrongs(said) -> dict[str, str]:
    return {found["subject"]: found["text"] for found in said.json["findings"] if found["verdict"] == "wrong"}


def test_a_healthy_store(run, queue) -> None:
    queue.options(delay=3600).enqueue(print)
    said = run("doctor", "--json").well()
    assert list(said.json) == ["ok", "url", "findings"]
    assert said.json["ok"] is True
    assert said.json["url"] == queue.url
    assert all(list(found) == ["subject", "verdict", "text", "advice"] for found in said.json["findings"])
    found = {finding["subject"]: finding["text"] for finding in said.json["findings"]}
    assert found["cellq"] == cellq.__version__
    assert found["sqlite"].startswith(sqlite3.sqlite_version)
    assert {"python", "cloudpickle", "secret", "permissions", "disk"} <= set(found)
    assert (found["integrity"], found["journal"], found["jobs"]) == ("quick check passed", "wal", "1 pending")
    assert found["workers"] == "none is running"


def test_for_people(run, queue) -> None:
    queue.count()
    shown = run("doctor").well().out
    assert "✓ integrity     quick check passed" in shown
    assert shown.endswith("\nnothing is wrong\n")


def test_a_missing_store(run, path) -> None:
    said = run("doctor", "--json")
    assert said.code == 1
    assert f"no store is at {path}" in wrongs(said)["store"]
    assert not path.parent.exists()


def test_a_file_that_is_no_database(run, path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"to whom it may concern " * 100)
    said = run("doctor", "--json")
    assert said.code == 1
    assert list(wrongs(said)) == ["schema"]
    assert "not a database" in wrongs(said)["schema"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_database_of_another_program(run, path) -> None:
    path.parent.mkdir(mode=0o700)
    with sqlite3.connect(path) as sql:
        sql.execute("CREATE TABLE their (own TEXT)")
    sql.close()
    path.chmod(0o600)
    before = path.read_bytes()
    said = run("doctor", "--json")
    assert wrongs(said) == {"schema": "it is a database of another program"}
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_corrupt_store(run, path) -> None:
    with cellq.Queue(path) as q:
        q.map(abs, range(2000))
    with sqlite3.connect(path) as sql:
        (page,) = sql.execute("SELECT rootpage FROM sqlite_master WHERE name = 'job'").fetchone()
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sql.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    said = run("doctor", "--json")
    assert said.code == 1
    assert list(wrongs(said)) == ["integrity"]
    advice = next(found["advice"] for found in said.json["findings"] if found["subject"] == "integrity")
    assert ".recover" in advice


def test_a_store_of_a_newer_cellq(run, path) -> None:
    with cellq.Queue(path) as q:
        q.count()
    with sqlite3.connect(path) as sql:
        sql.execute("PRAGMA user_version = 999")
    sql.close()
    said = run("doctor", "--json")
    assert "written by a newer cellq" in wrongs(said)["schema"]


def test_jobs_that_nobody_serves(run, queue) -> None:
    queue.map(abs, range(2))
    queue.options(queue="mail").enqueue(print)
    said = run("doctor")
    assert said.code == 1
    assert "2 jobs in queue default wait, and no worker serves it" in said.out
    assert "start one: cellq worker -q mail" in said.out
    assert said.out.endswith("\n2 things to put right\n")


def test_a_paused_queue_is_worth_a_note(run, queue) -> None:
    queue.enqueue(print)
    queue.pause()
    said = run("doctor").well()
    assert "! paused        jobs wait in queue default, which is paused" in said.out
    assert "→ cellq resume default" in said.out


def test_jobs_for_another_python(run, queue, worker, monkeypatch) -> None:
    monkeypatch.setattr(cellq.settings, "RUNTIME", "3.99")
    queue.enqueue(print)
    said = run("doctor", "--json")
    assert "1 job in queue default waits for a worker with Python 3.99" in wrongs(said)["runtime"]


def test_running_jobs_without_a_worker(run, start, queue, hold, gate, until) -> None:
    process = start("worker", "-n", "1", "--lease", "0.5")
    hold("x")
    gate.wait_reached()
    process.kill()
    process.wait()
    until(lambda: queue.workers() == [], "its lease is over")
    assert (
        wrongs(run("doctor", "--json"))["lost"] == "1 running job lost the worker, and no other is there to take over"
    )


@posix
@pytest.mark.parametrize(("mode", "code", "mark"), [(0o600, 0, "✓"), (0o644, 0, "!"), (0o666, 1, "✗")])
def test_permissions_of_the_store(run, queue, path, mode, code, mark) -> None:
    queue.count()
    path.chmod(mode)
    said = run("doctor")
    assert said.code == code
    assert f"{mark} permissions   {mode:o}" in said.out
    assert (f"chmod 600 {path}" in said.out) == (mode != 0o600)


@posix
def test_a_secret_that_others_can_read(run, queue, tmp_path, monkeypatch) -> None:
    queue.count()
    monkeypatch.setenv("CELLQ_HOME", str(tmp_path / "mine"))
    secret = tmp_path / "mine" / "secret"
    assert "not made yet" in run("doctor").well().out
    assert not secret.exists()
    secret.parent.mkdir()
    secret.write_text("0" * 64)
    secret.chmod(0o644)
    said = run("doctor")
    assert said.code == 1
    assert f"chmod 600 {secret}" in said.out


def test_a_secret_from_the_environment(run, queue, monkeypatch) -> None:
    queue.count()
    monkeypatch.setenv("CELLQ_SECRET", "s" * 32)
    assert "from CELLQ_SECRET" in run("doctor").well().out
    monkeypatch.setenv("CELLQ_SECRET", "short")
    said = run("doctor")
    assert said.code == 1
    assert "16 or more are needed" in said.out


@pytest.mark.parametrize(
    ("library", "verdict"),
    [
        ((3, 6, 23), Verdict.OK),
        ((3, 7, 0), Verdict.NOTE),
        ((3, 40, 1), Verdict.NOTE),
        ((3, 44, 5), Verdict.NOTE),
        ((3, 44, 6), Verdict.OK),
        ((3, 50, 7), Verdict.OK),
        ((3, 51, 2), Verdict.NOTE),
        ((3, 51, 3), Verdict.OK),
        ((3, 53, 0), Verdict.OK),
    ],
)
def test_sqlite_with_the_wal_reset_bug(library, verdict) -> None:
    assert doctor.of_sqlite(library).verdict is verdict


@pytest.mark.parametrize(("version", "verdict"), [("7.0.0", "wrong"), ("7.0.1", "wrong"), ("7.4.0", "ok")])
def test_ipykernels_known_to_be_bad(monkeypatch, version, verdict) -> None:
    monkeypatch.setattr(doctor, "version", lambda package: version)
    found = {finding.subject: finding.verdict for finding in doctor.of_notebook_packages()}
    assert found["ipykernel"] == verdict


def test_notebook_packages_that_are_not_there(monkeypatch) -> None:
    def absent(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(doctor, "version", absent)
    (found,) = doctor.of_notebook_packages()
    assert found.verdict is Verdict.NOTE
    assert "pip install 'cellq[notebook]'" in found.advice
