"""What a cell shows beyond its results: line numbers, errors, display ids, interruption, and what it must not do."""

from __future__ import annotations

import json
import re
from pathlib import Path

from both_ways import Run, run


def away(cells: list[str], tmp_path: Path) -> Run:
    return run("away", cells, tmp_path / "nb")


def traceback(result: Run, cell: int = -1) -> str:
    content = next(content for kind, content in result.messages[cell] if kind == "error")
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"]))


def test_line_numbers_are_those_of_the_notebook_cell(tmp_path: Path) -> None:
    cells = ["%%enqueue\n\nx = 1\n1 / 0", "%%enqueue\ndef f():\n    return 1 / 0\nf()"]
    result = away(cells, tmp_path)
    assert "Cell In[1], line 4" in traceback(result, 0)
    assert "----> 4 1 / 0" in traceback(result, 0)
    assert "1 %%enqueue" in traceback(result, 1)
    assert "Cell In[2], line 3, in f()" in traceback(result, 1)
    assert "\x1b[" in "".join(result.messages[0][-1][1]["traceback"])


def test_a_traceback_shows_functions_of_other_cells(tmp_path: Path) -> None:
    result = away(["def f(x):\n    return 1 / x", "f(0)"], tmp_path)
    assert "return 1 / x" in traceback(result)


def test_names_assigned_before_the_error_come_back(tmp_path: Path) -> None:
    result = away(["a = 1\n1 / 0\nb = 2"], tmp_path)
    assert (result.names, result.merged[0]["error"]) == ({"a": "1"}, "ZeroDivisionError: division by zero")


def test_the_last_value_comes_back_also_when_it_is_not_shown(tmp_path: Path) -> None:
    result = away(["6 * 7;"], tmp_path)
    assert result.messages[0] == []
    assert result.merged[0]["value"] == "42"


def test_a_job_cannot_ask(tmp_path: Path) -> None:
    result = away(["input('name?')", "import getpass\ngetpass.getpass()"], tmp_path)
    assert all("does not support input requests" in one["error"] for one in result.merged)


def test_display_ids_are_the_notebooks(tmp_path: Path) -> None:
    result = away(["display(1, display_id='mine')\nh = display(2, display_id=True)\nh.update(3)"], tmp_path)
    ids = [content["transient"]["display_id"] for _, content in result.messages[0]]
    assert ids[0] == "mine"
    assert re.fullmatch(r"[0-9a-f]{32}", ids[1])
    assert ids[1] == ids[2]


def test_everything_emitted_is_json_and_images_are_text(tmp_path: Path) -> None:
    cell = (
        "import numpy as np\nclass P:\n    def _repr_png_(self): return b'\\x89PNG'\n"
        "    def _repr_mimebundle_(self, **k): return {'application/json': {'n': np.int64(3), 'b': b'x'}}\nP()"
    )
    result = away([cell], tmp_path)
    data = result.messages[0][0][1]["data"]
    assert json.loads(json.dumps(data))["application/json"] == {"n": 3, "b": "eA=="}


def test_an_interrupt_ends_the_cell_and_what_it_had_comes_back(tmp_path: Path) -> None:
    cell = "import os, signal\ndone = 1\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass"
    result = away([cell], tmp_path)
    assert result.merged[0]["error"].startswith("KeyboardInterrupt")
    assert result.names["done"] == "1"


def test_an_interrupt_ends_an_awaiting_cell_and_its_command(tmp_path: Path) -> None:
    awaiting = (
        "import asyncio, os, signal\nasyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)\n"
        "await asyncio.sleep(60)"
    )
    command = (
        "import os, threading, signal\nthreading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n!sleep 60"
    )
    result = away([awaiting, command], tmp_path)
    assert all(one["error"].startswith("KeyboardInterrupt") for one in result.merged)


def test_a_task_that_outlives_its_cell_is_stopped_and_named(tmp_path: Path) -> None:
    result = away(
        ["import asyncio\nasync def lasting():\n    await asyncio.sleep(60)\nt = asyncio.create_task(lasting())"],
        tmp_path,
    )
    assert "stopped with its cell: lasting" in result.text(name="stderr")
    assert list(result.merged[0]["left"]) == ["t"]


def test_exit_ends_the_cell(tmp_path: Path) -> None:
    result = away(["exit()", "import sys\nsys.exit(2)"], tmp_path)
    assert [one["error"].split(":")[0] for one in result.merged] == ["SystemExit", "SystemExit"]


def test_commands_stream_and_expand(tmp_path: Path) -> None:
    result = away(["x = 'é'\n!printf '{x}'; echo err >&2"], tmp_path)
    assert result.text() == "éerr\r\n"  # a terminal's line ends, as in a kernel


def test_the_slot_looks_like_a_notebook_but_has_no_ipykernel(tmp_path: Path) -> None:
    cells = [
        "import sys, threading, pandas, tqdm.auto\n"
        "print(get_ipython().__class__.__name__, 'ipykernel' in sys.modules, 'notebook' in tqdm.auto.tqdm.__module__)\n"
        "print(threading.active_count())"
    ]
    assert away(cells, tmp_path).text() == "ZMQInteractiveShell False False\n1\n"


def test_a_missing_module_is_told_with_the_reason(tmp_path: Path) -> None:
    result = away(
        [
            "#here\nimport sys, types\nmade = types.ModuleType('made_up'); sys.modules['made_up'] = made\n"
            "made.__file__ = 'made_up.so'",
            "made",
        ],
        tmp_path,
    )
    assert result.merged[0]["error"].startswith("ModuleNotFoundError")
    assert "unpacked in the worker" in "\n".join(result.messages[1][0][1]["traceback"])


def test_two_cells_know_nothing_of_each_other(tmp_path: Path) -> None:
    result = away(["%%enqueue o=-\nleaked = 1", "'leaked' in globals()"], tmp_path)
    assert result.merged[1]["value"] == "False"
