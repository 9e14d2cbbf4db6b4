"""`%%enqueue` in a real kernel, without a screen: what goes out, what comes back, and what is said about it."""

import pytest
from frontend import Frontend

pytestmark = pytest.mark.timeout(120)


def test_output_comes_below_the_card_in_order(front: Frontend) -> None:
    cell = front.run(
        "%%enqueue\nimport sys\nfrom IPython.display import HTML, display\nprint('one')\ndisplay(HTML('<i>two</i>'))\n"
        "print('three', file=sys.stderr)\n'four'"
    ).ended()
    cell.until(lambda cell: cell.value, "the last value is there")
    kinds = [kind for kind, _ in cell.outputs]
    assert kinds == ["display_data", "stream", "display_data", "stream", "execute_result"]
    assert (cell.printed, cell.warned, cell.value) == ("one\n", "three\n", "'four'")


def test_names_go_out_by_value_and_come_back(front: Frontend) -> None:
    front.run("base = 20\ndef twice(x): return 2 * x\nseen = [1]")
    front.run("%%enqueue names --wait\nanswer = twice(base) + 2\nseen.append(answer)")
    assert front.run("print(answer, seen, names['answer'], names.result())").printed == "42 [1, 42] 42 None\n"


def test_only_the_names_asked_for_come_back(front: Frontend) -> None:
    front.run("%%enqueue --wait -o wanted\nwanted, unwanted = 1, 2")
    front.run("%%enqueue nothing --wait -o -\nuntold = 3\nuntold")
    cell = front.run("print(wanted, 'unwanted' in globals(), 'untold' in globals(), nothing.result())")
    assert cell.printed == "1 False False 3\n"


def test_a_name_rebound_meanwhile_is_left_alone_and_said(front: Frontend) -> None:
    front.run("import pathlib, time")
    wait = "while not pathlib.Path('rebound').exists(): time.sleep(0.02)"
    cell = front.run(f"%%enqueue late\n{wait}\nrebound = 'by the job'")
    front.run("rebound = 'by me'\npathlib.Path('rebound').touch()")
    cell.ended().until(lambda cell: "rebound here meanwhile" in cell.card, "the cell says so")
    assert 'late["rebound"] has the job\'s' in cell.card
    assert front.run("print(rebound, '|', late['rebound'])").printed == "by me | by the job\n"


def test_a_name_does_not_change_under_a_running_cell(front: Frontend) -> None:
    front.run("fresh = 'old'")
    front.run(
        "%%enqueue fast\nimport pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)\nfresh = 'new'"
    )
    running = front.run(
        "import pathlib, time\npathlib.Path('go').touch()\nwhile not fast.done(): time.sleep(0.01)\n"
        "time.sleep(0.5)\nprint(fresh)"
    )
    assert running.printed == "old\n"
    assert front.run("print(fresh)").printed == "new\n"


def test_a_cell_that_waits_for_the_job_has_its_names_from_there_on(front: Frontend) -> None:
    front.run("%%enqueue asked\nimport time\ntime.sleep(0.2)\nfound = 7")
    assert front.run("asked.result(); print(found)").printed == "7\n"
    front.run("%%enqueue awaited\nfound = 8")
    assert front.run("await awaited; print(found)").printed == "8\n"


def test_what_cannot_come_back_is_said_in_one_line(front: Frontend) -> None:
    cell = front.run("%%enqueue left --wait\nlines = (i for i in range(3)); next(lines)\nkept = 5")
    notes = cell.card.splitlines()[1:]
    assert len(notes) == 1
    assert "lines stayed in the worker: " in notes[0]
    assert front.run("print(kept)").printed == "5\n"


def test_a_name_that_the_job_itself_has_here_is_explained(front: Frontend) -> None:
    cell = front.run("%%enqueue model --wait\nmodel = 3")
    assert 'model is the job itself here; what the cell assigned to it is model["model"]' in cell.card
    assert front.run("print(model['model'])").printed == "3\n"


def test_two_cells_at_once_each_have_their_own_output(front: Frontend) -> None:
    tell = "%%enqueue\nimport time\nfor i in range(5):\n    print('{0}', i, flush=True)\n    time.sleep(0.05)"
    one, two = front.run(tell.format("one")), front.run(tell.format("two"))
    one.ended()
    two.ended()
    for cell, name in ((one, "one"), (two, "two")):
        cell.until(lambda cell: "4" in cell.printed, "all of it is there")
        assert cell.printed == "".join(f"{name} {i}\n" for i in range(5))


def test_a_late_error_stands_below_its_own_cell_with_its_own_lines(front: Frontend) -> None:
    cell = front.run("%%enqueue broken\nimport time\ntime.sleep(0.3)\nkept = 'before'\n1 / 0\n")
    assert cell.reply is not None
    assert cell.reply["status"] == "ok"
    other = front.run("print('another cell')")
    cell.ended("failed").until(lambda cell: cell.error, "the error is there")
    assert "----> 5 1 / 0" in cell.error
    assert "ZeroDivisionError: division by zero" in cell.error
    assert "cellq" not in cell.error
    assert other.error == ""
    assert front.run("print(kept)").printed == "before\n"


def test_a_waiting_cell_fails_as_its_job_does(front: Frontend) -> None:
    cell = front.run("%%enqueue --wait\nx = {}\nx['key']\n")
    assert cell.reply is not None
    assert (cell.reply["status"], cell.reply["ename"]) == ("error", "KeyError")
    assert "----> 3 x['key']" in cell.error, cell.error
    assert cell.error.count("KeyError: 'key'") == 1


def test_the_error_of_a_waiting_cell_can_be_caught(front: Frontend) -> None:
    call = "get_ipython().run_cell_magic('enqueue', '--wait', 'raise LookupError(1)')"
    cell = front.run(f"try:\n    {call}\nexcept LookupError as error:\n    print('caught', error.args)")
    assert cell.printed == "caught (1,)\n"


def test_a_timeout_tells_where_the_cell_was(front: Frontend) -> None:
    cell = front.run("%%enqueue --wait --timeout 0.3\nimport time\ntime.sleep(100)")
    assert cell.reply is not None
    assert cell.reply["ename"] == "JobTimeout"
    assert "3 time.sleep(100)" in cell.error
    assert "longer than its timeout of 0.3 s" in cell.card


def test_a_process_that_died_is_named_with_its_signal(front: Frontend) -> None:
    cell = front.run("%%enqueue --wait\nimport os\nprint('last words', flush=True)\nos.abort()")
    assert "SIGABRT" in cell.card
    assert cell.error.startswith("JobLost: ")
    assert len(cell.error.splitlines()) == 1


def test_each_attempt_is_shown_and_the_names_of_the_last_come_back(front: Frontend) -> None:
    cell = front.run(
        "%%enqueue --wait --retries 1\nimport cellq\ntried = cellq.current_job().attempt\nprint('attempt', tried)\n"
        "assert tried == 2"
    )
    assert "attempt 1" in cell.printed
    assert "attempt 2" in cell.printed
    assert "── started again ──" in cell.warned
    assert "completed" in cell.card
    assert "AssertionError" in cell.error
    assert front.run("print(tried)").printed == "2\n"


def test_a_cancelled_job_is_quiet_and_what_it_had_done_comes_back(front: Frontend) -> None:
    cell = front.run("%%enqueue endless\nreached = 1\nprint('on it')\nimport time\nwhile True: time.sleep(0.05)")
    cell.until(lambda cell: cell.printed, "it runs")
    assert "is being stopped" in front.run("%jobs cancel endless").printed
    cell.ended("cancelled")
    assert cell.error == ""
    assert front.run("endless.wait(); print(endless.state, reached)").printed == "cancelled 1\n"


def test_interrupting_a_waiting_cell_leaves_the_job_running(front: Frontend) -> None:
    cell = front.send("%%enqueue slow --wait\nimport time\nprint('on it')\ntime.sleep(1.5)\nslept = True")
    cell.until(lambda cell: cell.printed, "it runs")
    front.interrupt()
    front.finish(cell)
    assert cell.error.startswith("KeyboardInterrupt: interrupted: the cell no longer waits, job ")
    assert len(cell.error.splitlines()) == 1
    assert front.run("print(slow.state)").printed == "running\n"
    cell.ended()
    assert "no longer waits" in cell.card
    assert front.run("print(slept)").printed == "True\n"


def test_many_printed_lines_neither_flood_the_cell_nor_are_lost(front: Frontend) -> None:
    cell = front.run("%%enqueue chatty\nfor i in range(100_000): print('line', i)\n").ended()
    cell.until(lambda cell: "%jobs logs" in cell.printed, "the cut is told")
    assert len(cell.printed) < 110_000
    assert cell.messages < 200
    told = front.run("log = chatty.logs(); print(log.count('\\n'), log.splitlines()[-1])")
    assert told.printed == "100000 line 99999\n"
    assert len(front.run("%jobs logs chatty").printed) < 110_000


def test_clearing_the_output_keeps_the_card(front: Frontend) -> None:
    cell = front.run(
        "%%enqueue\nfrom IPython.display import clear_output\nprint('one', flush=True)\nimport time\n"
        "time.sleep(0.6)\nclear_output(wait=True)\nprint('two')"
    ).ended()
    cell.until(lambda cell: "two" in cell.printed, "the new output is there")
    assert cell.printed == "two\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--timeout 0", "timeout must be more than 0"),
        ("--delay -1", "delay must be 0 or more"),
        ("--retries x", "invalid int value: 'x'"),
        ("--nonsense", "unrecognized arguments: --nonsense"),
        ("not-a-name", "'not-a-name' cannot be the name of a variable"),
        ("-o a,1", "'1' after -o is not a name"),
    ],
)
def test_bad_arguments_get_the_usage_and_nothing_is_enqueued(front: Frontend, line: str, words: str) -> None:
    cell = front.run(f"%%enqueue {line}\n1")
    assert cell.warned.startswith("UsageError: ")
    assert words in cell.warned
    assert "usage: %%enqueue [-o NAMES]" in cell.warned
    assert cell.card == ""


def test_an_empty_cell_gets_the_usage(front: Frontend) -> None:
    assert "the cell is empty" in front.run("%%enqueue\n  \n").warned


def test_the_magics_explain_themselves(front: Frontend) -> None:
    reply = front.run("%%enqueue?").reply
    assert reply is not None
    told = reply["payload"][0]["data"]["text/plain"]
    for words in ("Run this cell in a background worker", "--timeout", "-o NAMES", "Bring back only these names"):
        assert words in told


def test_what_cannot_travel_is_refused_in_one_line_that_names_it(front: Frontend) -> None:
    front.run("import threading\nheld = {'inner': [threading.Lock()]}; held['inner'][0].acquire()")
    cell = front.run("%%enqueue\nprint(held)")
    assert cell.error.startswith("NotPicklable: Cannot send `held`: held['inner'][0] is a lock that is held")
    assert len(cell.error.splitlines()) == 1
    assert cell.card == ""


def test_a_syntax_error_is_shown_at_its_place_in_the_cell(front: Frontend) -> None:
    cell = front.run("%%enqueue\nx = 1\nif x\n    print(x)")
    assert cell.reply is not None
    assert (cell.reply["status"], cell.reply["ename"]) == ("error", "SyntaxError")
    assert "line 3" in cell.error
    assert "if x" in cell.error
    assert "cellq" not in cell.error


def test_too_large_an_input_is_refused_with_the_list(front: Frontend) -> None:
    front.run("import os\nos.environ['CELLQ_MAX_INPUT'] = '1000'\nlarge = b'x' * 10_000")
    cell = front.run("%%enqueue\nlen(large)")
    front.run("del os.environ['CELLQ_MAX_INPUT']")
    assert cell.error.startswith("TooLarge: ")
    assert "large 10" in cell.error


def test_a_store_that_cannot_be_used_is_named(front: Frontend) -> None:
    cell = front.run("%%enqueue --url sqlite:////proc/none/jobs.db\n1")
    assert cell.error.startswith("StoreUnavailable: /proc/none")
    assert len(cell.error.splitlines()) == 1
    assert "foo://" in front.run("%%enqueue --url foo://x\n1").error


def test_a_name_that_nothing_defines_is_warned_of_and_the_job_goes(front: Frontend) -> None:
    front.run("base = 20")
    cell = front.run("%%enqueue --wait\nif not base: nowhere_defined\n3")
    assert "nothing defines nowhere_defined" in cell.card
    assert "completed" in cell.card
    assert cell.value == "3"


def test_jobs_lists_what_was_enqueued(front: Frontend) -> None:
    front.run("%%enqueue listed --wait\nraise ValueError('<b>bold</b>')")
    (table,) = front.run("%jobs -n 1").of("display_data")
    assert "listed" in table["data"]["text/plain"]
    assert "&lt;b&gt;bold&lt;/b&gt;" in table["data"]["text/html"]


def test_a_job_is_run_again_and_its_log_printed(front: Frontend) -> None:
    front.run("%%enqueue again --wait\nprint('said')")
    assert "waits to be run again" in front.run("%jobs retry again").printed
    assert front.run("again.refresh().wait()\nprint(again.state)").printed == "completed\n"
    assert front.run("%jobs logs again").printed == "said\n"


@pytest.mark.parametrize(("line", "words"), [("cancel", "which job?"), ("nonsense", "invalid choice"), ("-n x", "-n")])
def test_bad_arguments_of_jobs_get_its_usage(front: Frontend, line: str, words: str) -> None:
    told = front.run(f"%jobs {line}").warned
    assert words in told
    assert "usage: %jobs" in told


def test_a_job_that_is_not_there_is_an_error_in_one_line(front: Frontend) -> None:
    cell = front.run("%jobs cancel 00000000")
    assert cell.error.startswith("Expired: there is no job 00000000")
    assert len(cell.error.splitlines()) == 1


def test_the_card_has_a_widget_while_the_job_runs_and_none_afterwards(front: Frontend) -> None:
    widget = "application/vnd.jupyter.widget-view+json"
    cell = front.run("%%enqueue\nimport pathlib, time\nwhile not pathlib.Path('end').exists(): time.sleep(0.02)")
    (card,) = cell.of("display_data")
    assert set(card["data"]) == {"text/html", "text/plain", widget}
    assert "cellq-" in card["data"][widget]["model_id"]
    front.run("import pathlib\npathlib.Path('end').touch()")
    cell.ended()
    assert set(card["data"]) == {"text/html", "text/plain"}
