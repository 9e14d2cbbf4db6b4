"""What a waiting cell finds around it is what the notebook would have had: history, last failure, loop, open files."""

from __future__ import annotations

import pytest
from frontend import Frontend

pytestmark = pytest.mark.timeout(120)


def test_the_history_of_cells_is_without_the_magic(front: Frontend) -> None:
    front.run("%%enqueue --wait\nfirst = 1\nfirst")
    front.run("%%enqueue --wait\n%time second = 2")
    cell = front.run("%%enqueue --wait\nprint(In[-3:], _ih is In, repr(_i), repr(_ii), sep='\\n')")
    history, same, last, last_but_one = cell.printed.splitlines()
    assert "enqueue" not in history
    assert "'first = 1\\nfirst'" in history
    assert "run_line_magic('time', 'second = 2')" in history
    assert (same, last, last_but_one) == ("True", repr("%time second = 2"), repr("first = 1\nfirst"))


def test_a_failure_is_the_last_one_for_the_notebook_and_the_next_cell(front: Frontend) -> None:
    front.run("%%enqueue --wait\n{}['missing']")
    assert front.run("import sys; print(sys.last_type.__name__, sys.last_value)").printed == "KeyError 'missing'\n"
    cell = front.run("%%enqueue --wait\nimport sys\nprint(sys.last_type.__name__, sys.last_value, sys.last_traceback)")
    assert cell.printed == "KeyError 'missing' None\n"
    assert "----> 2 {}['missing']" in front.run("%%enqueue --wait\n%tb").error


def test_a_failure_that_cannot_travel_does_not_hinder(front: Frontend) -> None:
    front.run("error = KeyError()\nerror.lock = __import__('threading').Lock(); error.lock.acquire()\nraise error")
    cell = front.run("%%enqueue --wait\nimport sys\nprint(hasattr(sys, 'last_value'))")
    assert cell.printed == "False\n"


def test_asking_for_input_is_refused_in_the_kernels_words(front: Frontend) -> None:
    for call, name in (("input('?')", "raw_input"), ("__import__('getpass').getpass()", "getpass")):
        cell = front.run(f"%%enqueue --wait\n{call}")
        assert cell.reply is not None
        assert (cell.reply["ename"], cell.reply["evalue"]) == (
            "StdinNotImplementedError",
            f"{name} was called, but this frontend does not support input requests.",
        )
        assert "a job cannot ask for input: pass the answer in as a variable" in cell.error


def test_a_loop_is_running_as_in_the_notebook(front: Frontend) -> None:
    front.run("import asyncio\nasync def work(): return 7\ndef start():\n    return asyncio.run(work())")
    cell = front.run("%%enqueue --wait\nstart()")
    assert cell.reply is not None
    assert (cell.reply["ename"], cell.reply["evalue"]) == (
        "RuntimeError",
        "asyncio.run() cannot be called from a running event loop",
    )
    assert front.run("%%enqueue --wait\nget_ipython().run_cell('inner = 3')\nprint(inner, await work())").printed == (
        "3 7\n"
    )


def test_loops_that_the_notebook_has_let_nest_do_so_in_its_cells(front: Frontend) -> None:
    front.run("%%enqueue --wait\nimport nest_asyncio2\nnest_asyncio2.apply()")
    front.run("import asyncio\nasync def work(): return 7")
    assert front.run("%%enqueue --wait\nprint(asyncio.run(work()))").printed == "7\n"
    assert front.run("print(asyncio.run(work()))").printed == "7\n"


def test_a_file_stays_open_from_cell_to_cell(front: Frontend) -> None:
    front.run("%%enqueue --wait\nout = open('lines.txt', 'w')\nout.write('one\\n')")
    front.run("out.write('two\\n')\nsame = out")
    front.run("%%enqueue --wait\nout.write('three\\n')")
    assert front.run("print(same is out, out.closed, out.name); out.close()").printed == "True False lines.txt\n"
    front.run("lines = open('lines.txt'); lines.readline()")
    assert front.run("%%enqueue --wait\nprint(lines.readline(), end='')").printed == "two\n"
    assert front.run("print(lines.readline(), end='')").printed == "three\n"
    front.run("%%enqueue --wait\nlines.close()")
    assert front.run("print(lines.closed)").printed == "True\n"


def test_all_values_that_a_cell_shows_are_its_outputs(front: Frontend) -> None:
    front.run("get_ipython().ast_node_interactivity = 'all'")
    front.run("%%enqueue --wait\n'one'\n'two'")
    assert front.run("print(_, __)").printed == "two one\n"
