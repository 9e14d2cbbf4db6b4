"""`cellq size`, `pause`, `resume`, `clear`, `prune`: queues as a whole."""

import pytest

pytestmark = pytest.mark.parametrize("kind", ["sqlite", "redis"])

STATES = ["pending", "running", "completed", "failed", "cancelled"]


def test_size_as_json(run, queue) -> None:
    queue.map(abs, range(3))
    queue.options(queue="mail").enqueue(print)
    queue.enqueue(print).cancel()
    told = run("size", "--json").well().json
    assert list(told) == ["queues", "total", "workers", "slots", "busy"]
    assert list(told["queues"]) == ["default", "mail"]
    line = told["queues"]["default"]
    assert list(line) == [*STATES, "paused", "max_running", "oldest", "waiting"]
    assert [line[state] for state in STATES] == [3, 0, 0, 0, 1]
    assert line["paused"] is False
    assert line["waiting"] >= 0
    assert [told["total"][state] for state in STATES] == [4, 0, 0, 0, 1]
    assert (told["workers"], told["slots"], told["busy"]) == (0, 0, 0)


def test_size_counts_the_slots_of_workers(run, hold, gate, worker, until) -> None:
    hold("x")
    gate.wait_reached()
    told = run("size", "--json").well().json
    assert (told["workers"], told["slots"]) == (1, 1)
    assert told["queues"]["default"]["running"] == 1
    assert told["queues"]["default"]["waiting"] is None


def test_size_for_people(run, queue) -> None:
    queue.map(abs, range(1500))
    queue.pause()
    head, line = run("size").well().out.splitlines()
    assert head.split()[:6] == ["queue", *STATES]
    assert line.split()[:6] == ["default", "1,500", "0", "0", "0", "0"]
    assert line.endswith("paused")


def test_pause_and_resume(run, queue) -> None:
    queue.enqueue(print)
    assert run("pause", "default").well().out == "queue default is paused\n"
    assert run("size", "--json").json["queues"]["default"]["paused"] is True
    assert run("resume", "default").well().out == "queue default goes on\n"
    assert run("size", "--json").json["queues"]["default"]["paused"] is False


def test_limit_and_no_limit(run, queue) -> None:
    queue.enqueue(print)
    assert run("limit", "default", "2").well().out == "queue default runs at most 2 jobs at once\n"
    assert run("size", "--json").json["queues"]["default"]["max_running"] == 2
    assert run("size").well().out.rstrip().endswith("at most 2 at once")
    run("pause", "default").well()
    assert run("size").well().out.rstrip().endswith("paused, at most 2 at once")
    assert run("limit", "default", "0").well().out == "queue default has no limit\n"
    assert run("size", "--json").json["queues"]["default"]["max_running"] is None


@pytest.mark.parametrize("nonsense", ["-1", "x", "1.5"])
def test_limit_refuses_what_is_no_number(run, queue, nonsense) -> None:
    queue.enqueue(print)
    said = run("limit", "default", "--", nonsense)
    assert said.code == 2
    assert "'N'" in said.err


def test_clear_asks_first(run, queue) -> None:
    queue.map(abs, range(3))
    said = run("clear", "default", answer="n\n")
    assert said.code == 1
    assert "Delete 3 jobs that wait in queue default?" in said.out
    assert queue.count()["pending"] == 3
    assert run("clear", "default", answer="y\n").well().out.endswith("3 jobs deleted\n")
    assert queue.count()["pending"] == 0


def test_clear_deletes_what_waits_in_this_queue_and_nothing_else(run, queue, hold, gate, worker) -> None:
    running = hold("x")
    gate.wait_reached()
    ended = queue.enqueue(print)
    ended.cancel()
    other = queue.options(queue="mail").enqueue(print)
    queue.map(abs, range(1203))
    queue.options(delay=3600).enqueue(print)
    assert run("clear", "default", "--yes").well().out == "1,204 jobs deleted\n"
    told = run("size", "--json").json["queues"]["default"]
    assert (told["pending"], told["running"], told["cancelled"], told["paused"]) == (0, 1, 1, False)
    assert (running.state, other.state) == ("running", "pending")
    gate.open()
    assert running.wait(30)
    assert running.state == "completed"


def test_clear_leaves_a_pause_as_it_was(run, queue) -> None:
    queue.enqueue(print)
    queue.pause()
    run("clear", "default", "-y").well()
    assert run("size", "--json").json["queues"]["default"]["paused"] is True


@pytest.mark.parametrize("name", ["default", "unheard-of"])
def test_clear_of_an_empty_queue_asks_nothing(run, queue, name) -> None:
    queue.count()
    assert run("clear", name).well().out == f"no job waits in queue {name}\n"


def test_prune_by_how_they_ended(run, queue, worker) -> None:
    done, gone = queue.enqueue(abs, 1), queue.options(delay=3600).enqueue(print)
    gone.cancel()
    done.wait(30)
    assert run("prune", "--completed", "1h", "--cancelled", "7d").well().out == "0 jobs deleted\n"
    assert run("prune", "--completed", "0").well().out == "1 job deleted\n"
    assert [job["id"] for job in run("jobs", "--json").json] == [gone.id]
    assert run("prune", "--cancelled", "0s").well().out == "1 job deleted\n"


@pytest.mark.parametrize("age", ["7x", "", "-1", "1e3", "d", "٣d"])
def test_what_is_no_age_is_a_usage_error(run, queue, age) -> None:
    queue.count()
    said = run("prune", "--completed", age)
    assert said.code == 2
    assert "is no time span; write 7d, 12h, 30m, 45s, or seconds" in said.err


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30m", 1800), ("12h", 43200), ("7d", 604800), ("90", 90), ("1.5H", 5400)]
)
def test_ages(text, seconds) -> None:
    from cellq.cli.queues import _age

    assert _age(text) == seconds


def test_prune_wants_to_be_told_what(run, queue) -> None:
    queue.count()
    said = run("prune")
    assert said.code == 2
    assert "say what to delete" in said.err
