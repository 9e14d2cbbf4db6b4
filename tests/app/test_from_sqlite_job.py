"""docs/from-sqlite-job.md: the cellq side of every example runs as it stands there, and the old faults are gone."""

from __future__ import annotations

import ast
import itertools
import re

import pytest
from programs import Program

import cellq
from pages import named_blocks, names_of_cellq, read_page
from waiting import until

PAGE = read_page("from-sqlite-job.md")
BLOCKS = named_blocks(PAGE)
MODULES = {name: text for name, text in BLOCKS if name != "sqlite-job"}


@pytest.fixture
def page(program: Program) -> Program:
    """A folder with every module of the page."""
    for name, text in MODULES.items():
        program.write(name, text)
    return program


def said(program: Program, *arguments: str) -> str:
    """What a program of the page prints, which must end well."""
    done = program.run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_of_sqlite_job_has_its_counterpart() -> None:
    theirs = [text for name, text in BLOCKS if name == "sqlite-job"]
    assert len(theirs) == len(MODULES)
    assert set(MODULES) == {"quickstart.py", "shop.py", "outcome.py", "lines.py", "failures.py"}
    for _, text in BLOCKS:
        ast.parse(text)


def test_every_name_of_cellq_on_the_page_exists() -> None:
    for name in names_of_cellq(PAGE):
        assert hasattr(cellq, name), name


def test_quick_start(page: Program) -> None:
    assert re.fullmatch(
        r"enqueued: [0-9a-f-]{36} [0-9a-f-]{36}\nresults: 30 \[3, 6, 9, 12\]\n", said(page, "quickstart.py")
    )


def test_results_by_id_in_another_process(page: Program) -> None:
    code = "import shop; print(shop.welcome('ada@example.org'), shop.forget.enqueue(7).id)"
    sent, forgotten = said(page, "-c", code).split()
    for job_id in (sent, forgotten):
        assert said(page, "outcome.py", job_id) == "pending and no result yet\n"
    page.start("worker", "shop:worker", "--registered-only")
    with cellq.Queue(page.folder / "jobs.db") as queue:
        assert all(queue.get(job_id).wait(30) for job_id in (sent, forgotten))
        job = queue.get(sent)
        assert job.created <= job.started <= job.finished
    assert said(page, "outcome.py", sent) == "completed sent to ada@example.org\n"
    assert said(page, "outcome.py", forgotten) == "completed None\n"


def test_several_queues_each_with_a_worker_of_its_own(page: Program) -> None:
    page.start("worker", "lines:email")
    page.start("worker", "lines:data")
    assert said(page, "lines.py") == "newsletter to user@example.com (1, 3)\n"
    for name in ("email", "data_processing"):
        with cellq.Queue(page.folder / "jobs.db", name) as queue:
            assert queue.count()[cellq.State.COMPLETED] == 1


def test_a_failure_is_kept_and_the_worker_goes_on(page: Program) -> None:
    assert said(page, "failures.py") == ("failed with ValueError('something went wrong')\nthe worker goes on: 1024\n")
    with cellq.Queue(page.folder / "jobs.db") as queue:
        (failed,) = queue.jobs(state="failed")
        assert "something went wrong" in failed.failure.traceback


def test_two_workers_never_take_one_job(page: Program) -> None:
    def sign(folder: str, number: int) -> None:
        import os

        with open(f"{folder}/{number}", "a") as file:
            file.write(f"{os.getppid()}\n")

    signed = page.folder / "signed"
    signed.mkdir()
    page.start("worker", "--url", "jobs.db")
    page.start("worker", "--url", "jobs.db")
    numbers = itertools.count()
    with cellq.Queue(page.folder / "jobs.db") as queue:

        def both_had_their_part() -> bool:
            jobs = [queue.enqueue(sign, str(signed), next(numbers)) for _ in range(100)]
            assert all(job.wait(30) for job in jobs)
            assert {job.attempt for job in jobs} == {1}
            return len({path.read_text() for path in signed.iterdir()}) >= 2

        until(both_had_their_part, "both workers have run some")
    assert {path.read_text().count("\n") for path in signed.iterdir()} == {1}, "each ran once"
    assert len(list(signed.iterdir())) == next(numbers), "and none was left out"
