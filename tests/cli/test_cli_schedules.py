"""`cellq schedules`: what it lists, and that it pauses, resumes and removes; no other command shows them as jobs."""

from __future__ import annotations

import pytest

import cellq


@pytest.fixture(params=["sqlite", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def nightly(queue: cellq.Queue) -> cellq.Schedule:
    return queue.options(queue="reports").cron("nightly", "0 3 * * *", print, "x", zone="Europe/Berlin", missed="skip")


def test_schedules_are_listed(run, nightly) -> None:
    assert nightly.next is not None
    heading, line = run("schedules").well().out.splitlines()
    assert heading.split() == ["name", "expression", "zone", "state", "next", "last", "what", "else"]
    assert line.split() == [
        "nightly", "0", "3", "*", "*", "*", "Europe/Berlin", "active", f"{nightly.next:%Y-%m-%d}", "03:00",
    ]  # fmt: skip


def test_for_programs_they_are_json(run, nightly) -> None:
    (told,) = run("schedules", "--json").well().json
    next_ = told.pop("next")
    assert next_.endswith("Z")
    assert told == {
        "name": "nightly", "expression": "0 3 * * *", "zone": "Europe/Berlin", "missed": "skip", "task": "print",
        "queue": "reports", "state": "active", "last": None, "trouble": None,
    }  # fmt: skip


def test_without_any_it_says_so(run, queue) -> None:
    queue.jobs()
    assert run("schedules").well().out == "no schedules\n"
    assert run("schedules", "--json").well().json == []


def test_one_is_paused_resumed_and_removed(run, nightly) -> None:
    assert run("schedules", "pause", "nightly").well().out == "schedule nightly is paused\n"
    (told,) = run("schedules", "--json").well().json
    assert (told["state"], told["next"]) == ("paused", None)
    assert run("schedules", "resume", "nightly").well().out == "schedule nightly goes on\n"
    assert run("schedules", "--json").well().json[0]["state"] == "active"
    assert run("schedules", "remove", "nightly").well().out == "schedule nightly is removed\n"
    assert run("schedules", "--json").well().json == []


def test_of_several_names_none_is_changed_when_one_is_wrong(run, nightly) -> None:
    said = run("schedules", "remove", "nightly", "weekly").one_line()
    assert "there is no schedule 'weekly'" in said
    assert "there is nightly" in said
    assert len(run("schedules", "--json").well().json) == 1


def test_an_action_needs_a_name(run, nightly) -> None:
    assert "which schedule?" in run("schedules", "pause").err
    assert run("schedules", "nightly").code == 2


def test_no_other_command_shows_a_schedule_as_a_job(run, nightly) -> None:
    assert run("jobs").well().out == "no jobs\n"
    assert run("size").well().out == "no jobs\n"
    assert run("size", "--json").well().json["total"]["pending"] == 0
    assert "none" in next(line for line in run("doctor").out.splitlines() if " jobs " in line)
