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


VIEW = "application/vnd.jupyter.widget-view+json"


def test_widgets_that_a_cell_shows_are_the_notebooks_own_once_they_are_home(front: Frontend) -> None:
    cell = front.run(
        "%%enqueue --wait\nimport ipywidgets\none = ipywidgets.IntSlider(value=3)\ndisplay(one)\n"
        "two = ipywidgets.VBox([one, ipywidgets.Label('new')])\ntwo"
    )
    (_, shown), (result,) = cell.of("display_data"), cell.of("execute_result")
    told = front.run("print(one.model_id, two.model_id, two.children[0] is one)").printed
    assert told.split() == [shown["data"][VIEW]["model_id"], result["data"][VIEW]["model_id"], "True"]
    again = front.run("%%enqueue --wait\none.value = 5\none")
    (value,) = again.of("execute_result")
    assert value["data"][VIEW] == shown["data"][VIEW]
    assert front.run("print(one.value)").printed == "5\n"


def test_what_is_printed_into_a_widget_is_in_the_widget(front: Frontend) -> None:
    cell = front.run(
        "%%enqueue --wait\nimport ipywidgets\nout = ipywidgets.Output()\n"
        "with out:\n    print('one'); print('two'); display(3)\n    1 / 0\nprint('outside', out.outputs)"
    )
    assert cell.printed == "outside ()\n"
    assert cell.reply is not None
    assert cell.reply["status"] == "ok"
    told = front.run("print([each.get('text', each['output_type']) for each in out.outputs], out.outputs[-1]['ename'])")
    assert told.printed == "['one\\ntwo\\n', 'display_data', 'error'] ZeroDivisionError\n"
    front.run("%%enqueue --wait\nwith out:\n    print('three')")
    front.run("%%enqueue --wait\n@out.capture(clear_output=True)\ndef say(): print('four')\nsay()")
    assert front.run("print([each['text'] for each in out.outputs])").printed == "['four\\n']\n"


def test_what_a_function_prints_into_a_widget_is_in_its_log(front: Frontend) -> None:
    front.run("import cellq, ipywidgets\ndef f():\n    with ipywidgets.Output(): print('said')")
    front.run("%%enqueue --wait\npass")
    assert front.run("job = cellq.Queue().enqueue(f); job.wait(); print(job.logs())").printed == "said\n\n"


def test_a_widget_that_cannot_come_home_is_shown_as_text(front: Frontend) -> None:
    cell = front.run(
        "%%enqueue --wait\nimport ipywidgets, threading\nlocked = ipywidgets.Label('stays')\n"
        "locked.lock = threading.Lock(); taken = locked.lock.acquire()\nlocked"
    )
    (value,) = cell.of("execute_result")
    assert value["data"] == {"text/plain": "Label(value='stays')"}


def test_a_shells_settings_made_in_a_waiting_cell_are_the_notebooks(front: Frontend) -> None:
    cell = front.run("%%enqueue --wait\n%load_ext autoreload\n%autoreload 2")
    assert cell.reply is not None
    assert cell.reply["status"] == "ok"
    front.run("import pathlib\n_ = pathlib.Path('edited.py').write_text('def f(): return 1')\nimport edited")
    assert front.run("%%enqueue --wait\nprint(edited.f())").printed == "1\n"
    front.run("_ = pathlib.Path('edited.py').write_text('def f(): return 2222')")
    assert front.run("%%enqueue --wait\nprint(edited.f())").printed == "2222\n"
