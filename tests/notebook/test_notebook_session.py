"""`%%enqueue --session`: cells run in order in one process, and find there what cannot travel."""

import pytest
from frontend import Frontend

pytestmark = pytest.mark.timeout(120)


def test_cells_of_a_session_share_a_process(front: Frontend) -> None:
    first = front.run("%%enqueue one --wait --session shared\nimport os\nos.getpid()")
    again = front.run("%%enqueue two --wait --session shared\nos.getpid()")
    other = front.run("%%enqueue three --wait\nimport os\nos.getpid()")
    assert first.value == again.value
    assert first.value != other.value


def test_what_cannot_travel_stays_there_behind_a_stub(front: Frontend) -> None:
    cell = front.run("%%enqueue --wait --session kept\nnumbers = (n * n for n in range(10))\nnext(numbers)")
    cell.until(lambda cell: "numbers stays in session 'kept'" in cell.card, "the cell says so")
    assert front.run("print(numbers)").printed == "<numbers stays in session 'kept'>\n"
    assert front.run("%%enqueue --wait --session kept\nnext(numbers), next(numbers)").value == "(1, 4)"


def test_what_stays_in_a_session_is_refused_elsewhere_with_what_to_do(front: Frontend) -> None:
    front.run("%%enqueue --wait --session apart\nheld = (n for n in 'ab'); next(held)")
    cell = front.run("%%enqueue --wait\nnext(held)")
    assert cell.error.startswith("NotPicklable: Cannot send `held`")
    assert "Give the cell --session apart too" in cell.error


def test_a_stub_makes_way_for_a_value_that_can_travel(front: Frontend) -> None:
    front.run("%%enqueue --wait --session way\ntotal = (n for n in range(4)); next(total)")
    front.run("%%enqueue --wait --session way\ntotal = sum(total)")
    assert front.run("print(total)").printed == "6\n"


def test_a_name_that_was_rebound_here_goes_to_the_session(front: Frontend) -> None:
    front.run("%%enqueue --wait --session rebound\nsource = iter(()); source = (n for n in 'ab'); next(source)")
    front.run("source = 'mine'")
    assert front.run("%%enqueue --wait --session rebound\nsource").value == "'mine'"


def test_cells_run_in_the_order_in_which_they_were_sent(front: Frontend) -> None:
    front.run("%%enqueue --session order\nimport time\nseen = (n for n in [0])\ntime.sleep(0.3)\nstory = ['first']")
    front.run("%%enqueue --session order\nimport sys\nsys.modules['__main__'].story.append('second')")
    last = front.run("%%enqueue --wait --session order\nsys.modules['__main__'].story")
    assert last.value == "['first', 'second']"


def test_a_failed_cell_leaves_the_session_as_it_is(front: Frontend) -> None:
    front.run("%%enqueue --wait --session failed\nrows = (n for n in range(5)); next(rows)")
    assert front.run("%%enqueue --wait --session failed\nnext(rows)\n1 / 0").error
    assert front.run("%%enqueue --wait --session failed\nnext(rows)").value == "2"


@pytest.mark.parametrize("more", ["-q gpu", "-p 3", "--delay 5"])
def test_what_would_change_the_order_is_refused(front: Frontend, more: str) -> None:
    assert "cells of a session run in order" in front.run(f"%%enqueue --session x {more}\n1").warned


def test_a_session_is_named_by_an_identifier(front: Frontend) -> None:
    assert "is no name for a session" in front.run("%%enqueue --session 'a b'\n1").warned
