"""In a notebook: functions defined in it are scheduled, `%schedules` lists, pauses, resumes and removes them."""

from __future__ import annotations

import pytest
from frontend import Frontend

LOAD = """%load_ext cellq
import cellq
q = cellq.Queue()
factor = 6
def times(x):
    return factor * x
"""


@pytest.fixture
def notebook(front: Frontend) -> Frontend:
    front.run(LOAD)
    front.run("""[one.remove() for one in q.schedules()]
q.cron("nightly", "0 3 * * MON-FRI", times, 7, zone="Europe/Berlin");""")
    return front


def test_a_schedule_is_made_listed_paused_resumed_and_removed(notebook: Frontend) -> None:
    assert "Europe/Berlin" in notebook.run("print(repr(q.schedules()[0]))").printed
    (shown,) = (one["data"] for one in notebook.run("%schedules").of("display_data"))
    assert "<td" in shown["text/html"]
    assert "0 3 * * MON-FRI" in shown["text/html"]
    assert "active" in shown["text/plain"]
    assert notebook.run("%schedules pause nightly").printed == "schedule nightly is paused\n"
    assert "True None" in notebook.run("s = q.schedules()[0]; print(s.paused, s.next)").printed
    assert notebook.run("%schedules resume nightly").printed == "schedule nightly goes on\n"
    assert notebook.run("%schedules remove nightly").printed == "schedule nightly is removed\n"
    assert "no schedules" in str(notebook.run("%schedules").of("display_data"))


def test_its_call_runs_with_what_the_notebook_held(notebook: Frontend) -> None:
    notebook.run("factor = 0\njob = q.schedules()[0].run_now()")
    notebook.run("%workers start -n 1")
    assert notebook.run("print(job.result(30))").printed == "42\n"


def test_what_is_wrong_is_said_in_a_line(notebook: Frontend) -> None:
    assert "which schedule? write %schedules pause NAME" in notebook.run("%schedules pause").warned
    assert "there is no schedule 'weekly'; there is nightly" in notebook.run("%schedules pause weekly").error
