"""A cell that asks about the notebook's own shell is answered by that shell, although `%%enqueue` stands above it."""

import pytest
from frontend import Frontend

pytestmark = pytest.mark.timeout(120)


def test_history_and_names_are_the_notebooks(front: Frontend) -> None:
    front.run("kept, other = 'a value of this notebook', 3")
    assert "kept" in front.run("%%enqueue --wait\n%who_ls str").value
    assert "a value of this notebook" in front.run("%%enqueue --wait\n%history -l 3").printed


def test_a_reset_empties_the_notebook(front: Frontend) -> None:
    front.run("gone = 3")
    front.run("%%enqueue --wait\n# all of it\n%reset_selective -f ^gone$")
    assert front.run("print('gone' in globals())").printed == "False\n"


def test_with_anything_else_it_is_a_job(front: Frontend) -> None:
    cell = front.run("%%enqueue --wait\nhere = 4\n%who_ls int").ended()
    assert "cell [" in cell.card
    assert "here" in cell.value
