"""What a type checker makes of tasks: the call, the arguments of an enqueue, and the result of its job."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent.parent

PROGRAM = """
import cellq

worker = cellq.Worker("emails", url="memory://", middlewares=[cellq.Retry(max_tries=3)])

@worker.task(max_tries=3, max_rate="10/s", timeout=5.0)
async def send(to: str, n: int = 1) -> int:
    return n

@cellq.task(max_tries=2)
def plain(a: int) -> str:
    return str(a)

@cellq.task
def bare(a: int) -> bytes:
    return bytes(a)

class Logger(cellq.Middleware):
    async def handle(self, message: cellq.Message, next_handler: cellq.Handler) -> object:
        return await next_handler(message)

async def main() -> None:
    reveal_type(await send("a"))  # int
    reveal_type(await send.send("a", n=2))  # cellq.client.job.AsyncJob[int]
    reveal_type(await send.send_bulk([send.message("a")]))  # cellq.client.group.AsyncJobGroup[int]
    reveal_type(send.enqueue("a").result())  # int
    reveal_type(plain(1))  # str
    reveal_type(plain.map([1]).results())  # list[str]
    reveal_type(bare.enqueue(1).result())  # bytes
    job, group = plain.enqueue(1), plain.map([1])
    cellq.Queue("memory://").options(after=[job, group, job.id], expires=60, concurrency_key="gpu", max_running=2)
    plain.options(after=group).enqueue(2)
    plain.options(after=job.asynchronous()).enqueue(2)
    plain.options(max_running="2")  # error
    plain.options(after=2)  # error
    cellq.Queue("memory://").limit("2")  # error
    await send.send(1)  # error
    plain.enqueue("x")  # error
    plain.message()  # error
"""


def test_calls_and_jobs_have_the_types_of_the_function(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "typed.py"
    path.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110).stdout
    found = dict(re.findall(r'typed\.py:(\d+): note: Revealed type is "(.*)"', said))
    errors = set(re.findall(r"typed\.py:(\d+): error:", said))
    for number, line in enumerate(PROGRAM.splitlines(), 1):
        _, mark, expected = line.partition("  # ")
        if expected == "error":
            assert str(number) in errors, f"{line}\n{said}"
        else:
            assert str(number) not in errors, said
            assert not mark or found[str(number)].replace("builtins.", "") == expected
