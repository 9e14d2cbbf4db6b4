"""What a job prints, shows and reports arrives: all of it, in order, and under its own job."""

import ctypes
import os
import subprocess
import sys
import threading

import cellq


def test_python_c_and_subprocess_output_keep_their_order(shared) -> None:
    def talk():
        print("one")
        os.system("echo two")
        print("three")
        subprocess.run(["sh", "-c", "echo four; echo five >&2"], check=True)
        sys.stderr.write("six\n")
        os.write(1, b"seven\n")
        print("eight")

    job = shared.enqueue(talk)
    job.result(timeout=30)
    lines = job.logs().split()
    assert [line for line in lines if line not in ("five", "six")] == ["one", "two", "three", "four", "seven", "eight"]
    assert lines.index("four") < lines.index("six") < lines.index("seven")
    assert "five" in lines


def test_what_c_code_printed_and_did_not_flush_arrives(shared) -> None:
    def printf():
        ctypes.CDLL(None).printf(b"from C")

    job = shared.enqueue(printf)
    job.result(timeout=30)
    assert job.logs() == "from C"


def test_output_arrives_while_the_job_runs(shared, tmp_path, until) -> None:
    def talk_and_wait(gate):
        print("hello")
        while not os.path.exists(gate):
            threading.Event().wait(0.01)

    job = shared.enqueue(talk_and_wait, str(tmp_path / "gate"))
    until(lambda: job.logs() == "hello\n", "the line is there")
    assert job.state == "running"
    (tmp_path / "gate").touch()
    job.result(timeout=30)


def test_a_hundred_thousand_lines_arrive_whole(shared) -> None:
    def chatter():
        for n in range(100_000):
            print(n)

    job = shared.enqueue(chatter)
    job.result(timeout=60)
    assert job.logs().split() == [str(n) for n in range(100_000)]


def test_a_megabyte_from_a_subprocess_does_not_block(shared) -> None:
    def big():
        subprocess.run([sys.executable, "-c", "print('x' * 3_000_000)"], check=True)

    job = shared.enqueue(big)
    job.result(timeout=60)
    assert len(job.logs()) == 3_000_001


def test_threads_of_a_job_print_under_it(shared) -> None:
    def in_threads():
        threads = [threading.Thread(target=print, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    job = shared.enqueue(in_threads)
    job.result(timeout=30)
    assert sorted(job.logs().split()) == ["0", "1", "2", "3"]


def test_jobs_side_by_side_in_one_loop_print_under_themselves(shared) -> None:
    async def speak(n):
        import asyncio

        for _ in range(3):
            print(n)
            await asyncio.sleep(0.001)
        return n

    jobs = list(shared.map(speak, range(10)))
    assert [job.result(timeout=30) for job in jobs] == list(range(10))
    assert [job.logs() for job in jobs] == [f"{n}\n" * 3 for n in range(10)]


def test_one_process_many_jobs_no_output_in_the_wrong_place(shared) -> None:
    def speak(n):
        print(n, end="")
        os.system(f"printf ' {n}'")

    jobs = list(shared.map(speak, range(20)))
    for job in jobs:
        job.result(timeout=30)
    assert [job.logs() for job in jobs] == [f"{n} {n}" for n in range(20)]


def test_input_fails_clearly_instead_of_waiting(shared) -> None:
    job = shared.enqueue(input, "name? ")
    assert isinstance(job.exception(timeout=30).__cause__, EOFError)


def test_progress_arrives_as_numbers(shared) -> None:
    def work():
        cellq.progress(3, 7, "reading")

    job = shared.enqueue(work)
    job.result(timeout=30)
    (bar,) = job.progress
    assert (bar["n"], bar["total"], bar["note"]) == (3, 7, "reading")


def test_tracked_nested_and_tqdm_bars_arrive_as_numbers(shared) -> None:
    def work():
        from tqdm.auto import tqdm

        for _ in cellq.track(range(2), desc="outer"):
            for _ in tqdm(range(5), desc="inner", leave=False):
                pass
        for _ in tqdm(range(4), desc="last"):
            pass

    job = shared.enqueue(work)
    job.result(timeout=30)
    assert [(bar["desc"], bar["n"], bar["total"]) for bar in job.progress] == [("outer", 2, 2), ("last", 4, 4)]
    assert job.logs() == ""


def test_rich_progress_arrives_as_numbers(shared) -> None:
    def work():
        from rich.progress import Progress

        with Progress() as progress:
            first = progress.add_task("download", total=10)
            for _ in range(10):
                progress.advance(first)

    job = shared.enqueue(work)
    job.result(timeout=30)
    (bar,) = job.progress
    assert (bar["desc"], bar["n"], bar["total"], bar["closed"]) == ("download", 10, 10, True)


def test_many_progress_calls_make_few_events(shared) -> None:
    def work():
        for n in range(100_000):
            cellq.progress(n + 1, 100_000)

    job = shared.enqueue(work)
    job.result(timeout=30)
    assert job.progress[0]["n"] == 100_000


def test_figures_and_rich_displays_of_a_function_are_events(shared) -> None:
    def draw():
        import matplotlib.pyplot as plt
        from IPython.display import HTML, display

        display(HTML("<b>bold</b>"))
        print("between")
        plt.plot([1, 2])

    job = shared.enqueue(draw)
    job.result(timeout=60)
    events = list(job.events())
    assert [event.kind for event in events] == ["display_data", "stream", "display_data"]
    assert "text/html" in events[0].content["data"]
    assert "image/png" in events[2].content["data"]


def test_outside_of_a_job_nothing_happens() -> None:
    cellq.progress(1, 2)
    assert list(cellq.track(range(3))) == [0, 1, 2]
    assert cellq.current_job() is None
