"""Runs a list of cells plainly in an IPython shell, and again through parcels in worker processes.

    both_ways(cells)  ──▶ process "plain":  every cell runs in its own shell
                      └─▶ process "away":   cells run in a child forked by a third process, in another directory;
                                            cells that start with `#here` run in the notebook itself

Both give what each cell showed and what the namespace holds at the end. The notebook's shell is written apart from
cellq's on purpose: what they share is only IPython.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = "#here"


@dataclass
class Run:
    """What came of the cells: messages per cell, names at the end, and what `merge` said per cell."""

    messages: list[list[tuple[str, Any]]]
    names: dict[str, str]
    merged: list[dict[str, Any]]

    def text(self, cell: int = -1, name: str = "stdout") -> str:
        """What a cell printed."""
        return "".join(
            content["text"] for kind, content in self.messages[cell] if kind == "stream" and content["name"] == name
        )

    def shape(self, cell: int) -> list[Any]:
        """A cell's messages as they must be the same both ways: kinds, mime types, texts."""
        found: list[Any] = []
        for kind, content in self.messages[cell]:
            if kind == "stream" and not plain(content["text"]):
                continue
            if kind == "stream":
                if found and found[-1][:2] == ["stream", content["name"]]:
                    found[-1][2] += plain(content["text"])
                else:
                    found.append(["stream", content["name"], plain(content["text"])])
            elif "data" in content:
                mimes = {k: plain(v) if k.startswith("text/") else k for k, v in content["data"].items()}
                found.append([kind, mimes, sorted(content.get("transient") or {})])
            elif kind == "error" and content["ename"] == "UsageError":  # which a shell prints, also for a waiting cell
                found.append(["stream", "stderr", f"UsageError: {content['evalue']}\n"])
            elif kind == "error":
                found.append([kind, content["ename"], plain(content["evalue"])])
            else:
                found.append([kind, content])
        return found

    def shapes(self) -> list[list[Any]]:
        """`shape` of all cells."""
        return [self.shape(number) for number in range(len(self.messages))]


def plain(text: str) -> str:
    """Text without what differs between two processes: addresses, ids, colours."""
    text = re.sub(r"0x[0-9a-fA-F]{6,}", "0x", text.replace("\r\n", "\n"))  # a terminal's line ends, of `!command`
    text = re.sub(r"/(plain|away)/nb|(?<=display_id=)[0-9a-f]{32}|(?<= id=')\d+", "", text)
    # Nobody sits before a worker's shell; a waiting notebook says it itself.
    text = re.sub(r"(?m)^.*UserWarning: To exit:.*\n.*\n", "", text)
    text = re.sub(r"\(<[^>]*>, line \d+\)", "", text)
    text = re.sub(r"(?m)^(CPU times|Wall time).*$", r"\1", text)
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def read_cells(path: Path) -> list[str]:
    """The cells of a file, each below a line `# %%`."""
    return [cell.removesuffix("\n") for cell in path.read_text().split("# %%\n")[1:]]


def run(way: str, cells: list[str], directory: Path, **environment: str) -> Run:
    """Run the cells one way, "plain" or "away", with `directory` as the notebook's."""
    directory.mkdir(parents=True, exist_ok=True)
    answer = subprocess.run(
        [sys.executable, __file__, way],
        input=json.dumps(cells).encode(),
        capture_output=True,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(_source_paths()), **environment},
        timeout=100,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr.decode()
    return Run(*pickle.loads(answer.stdout))


def both_ways(cells: list[str], tmp_path: Path, **environment: str) -> tuple[Run, Run]:
    """The cells run plainly, and run away."""
    here, away = (run(way, cells, tmp_path / way / "nb", **environment) for way in ("plain", "away"))
    return here, away


def _source_paths() -> list[str]:
    import cellq

    return [str(Path(cellq.__file__).parents[1])]


# ------------------------------------------------------------------------------------- in the processes


class Recording(io.TextIOBase):
    """A stream that records what is written to it."""

    def __init__(self, name: str, said: list[tuple[str, Any]]) -> None:
        self.name, self.said = name, said

    def write(self, text: str) -> int:
        self.said.append(("stream", {"name": self.name, "text": text}))
        return len(text)

    def isatty(self) -> bool:
        return False


def notebook(way: str) -> None:
    """The notebook's process."""
    out = os.dup(1)
    os.dup2(2, 1)
    cells = json.loads(sys.stdin.buffer.read())
    shell, said = _plain_shell()
    worker = Worker() if way == "away" else None
    messages, merged = [], []
    for number, cell in enumerate(cells, 1):
        said.clear()
        if worker is None or cell.startswith(HERE):
            with (
                contextlib.redirect_stdout(Recording("stdout", said)),
                contextlib.redirect_stderr(Recording("stderr", said)),
            ):
                shell.run_cell(cell.partition("\n")[2] if cell.startswith("%%enqueue") else cell, store_history=True)
        else:
            merged.append(worker.run(cell, shell, number, said))
            shell.execution_count = number + 1
        messages.append(list(said))
    if worker is not None:
        worker.close()
    names = {
        name: describe(value)
        for name, value in shell.user_ns.items()
        if not name.startswith("_") and name not in shell.user_ns_hidden and not isinstance(value, io.IOBase)
    }
    with os.fdopen(out, "wb") as answer:
        pickle.dump((messages, names, merged), answer)


def describe(value: Any) -> str:
    """A value in a form that is the same in both processes."""
    if type(value).__module__.startswith(("numpy", "pandas")):
        return f"{type(value).__name__} {plain(repr(value))}"
    if isinstance(value, float | int | str | list | dict | tuple | set):
        return plain(repr(value))
    return f"{type(value).__name__} {plain(repr(value))}"[:200]


def _plain_shell() -> tuple[Any, list[tuple[str, Any]]]:
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets import Type
    from traitlets.config import Config

    said: list[tuple[str, Any]] = []

    class Pub(DisplayPublisher):
        def publish(self, data, metadata=None, *, transient=None, update=False, **kwargs):  # type: ignore[no-untyped-def]
            kind = "update_display_data" if update else "display_data"
            said.append((kind, {"data": data, "metadata": metadata, "transient": transient}))

        def clear_output(self, wait=False):  # type: ignore[no-untyped-def]
            said.append(("clear_output", {"wait": wait}))

    class Hook(DisplayHook):
        def write_output_prompt(self):  # type: ignore[no-untyped-def]
            pass

        def write_format_data(self, format_dict, md_dict=None):  # type: ignore[no-untyped-def]
            said.append(("execute_result", {"data": format_dict, "metadata": md_dict}))

    class ZMQNotebookShell(InteractiveShell):
        displayhook_class = Type(Hook)
        display_pub_class = Type(Pub)
        kernel = None  # pandas takes a shell without this attribute for a terminal

        def enable_gui(self, gui=None):  # type: ignore[no-untyped-def]
            pass

        def _showtraceback(self, etype, evalue, stb):  # type: ignore[no-untyped-def]
            said.append(("error", {"ename": etype.__name__, "evalue": str(evalue), "traceback": stb}))

        def system(self, cmd):  # type: ignore[no-untyped-def]
            done = subprocess.run(
                self.var_expand(cmd, depth=1), shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
            sys.stdout.write(done.stdout.decode())
            self.user_ns["_exit_code"] = done.returncode

        system_piped = system_raw = system

    config = Config()
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.separate_out = config.InteractiveShell.separate_out2 = ""
    return ZMQNotebookShell.instance(config=config), said


class Worker:
    """The process that forks a child for each cell, seen from the notebook."""

    def __init__(self) -> None:
        elsewhere = Path.cwd().parent / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, __file__, "worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=elsewhere
        )

    def run(self, cell: str, shell: Any, number: int, said: list[tuple[str, Any]]) -> dict[str, Any]:
        from cellq.cell.parcel import pack
        from cellq.cell.returned import merge, value_of
        from cellq.errors import CellqError

        first, _, rest = cell.partition("\n")
        header, source = (first + "\n", rest) if first.startswith("%%enqueue") else ("", cell)
        options = dict(word.split("=") for word in first.split()[1:]) if header else {}
        outputs = options["o"].strip(",").split(",") if "o" in options else None
        try:
            packed = pack(source, shell.user_ns, outputs and [o for o in outputs if o != "-"], number, header=header)
        except SyntaxError as error:
            said.append(("error", {"ename": type(error).__name__, "evalue": str(error)}))
            return {"refused": str(error)}
        except CellqError as error:
            said.append(("refused", {"type": type(error).__name__, "text": str(error)}))
            return {"refused": str(error)}
        send(self.process.stdin, packed.parcel)
        heard, returned, error = receive(self.process.stdout)
        said.extend(heard)
        report: dict[str, Any] = {"warnings": packed.warnings, "error": error, "notes": returned.notes}
        report["has_value"] = returned.has_value
        merged = merge(returned, shell.user_ns, packed.snapshot)
        try:
            report["value"] = describe(value_of(returned, shell.user_ns))
        except CellqError as problem:
            report["value_problem"] = str(problem)
        report |= {
            "set": sorted(merged.set_names),
            "skipped": sorted(merged.skipped),
            "left": dict(merged.left_behind),
            "problems": merged.problems,
        }
        return report

    def close(self) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait(10)
        self.process.stdout.close()  # type: ignore[union-attr]


def worker() -> None:
    """The worker's process: one forked child per parcel."""
    from cellq.runner import shell

    source, answer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    shell.prepare()
    while (size := source.read(8)) != b"":
        sealed = source.read(struct.unpack("<Q", size)[0])
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run_one(sealed, answer)
                status = 0
            finally:
                os._exit(status)
        os.waitpid(child, 0)


def run_one(sealed: bytes, answer: Any) -> None:
    """The child: one cell."""
    from cellq.runner.cell import run_cell
    from cellq.wire.pickling import loads

    said: list[tuple[str, Any]] = []

    def emit(kind: str, content: dict[str, Any]) -> None:
        json.dumps(content)  # what is emitted is fit for JSON
        said.append((kind, content))

    with contextlib.redirect_stdout(Recording("stdout", said)), contextlib.redirect_stderr(Recording("stderr", said)):
        outcome = run_cell(loads(sealed), "job-1", emit)
    error = None if outcome.error is None else f"{type(outcome.error).__name__}: {outcome.error}"
    send(answer, (said, outcome.returned, error))


def send(stream: Any, value: object) -> None:
    """A value with its length before it."""
    from cellq.wire.pickling import pack

    sealed = pack(value)
    stream.write(struct.pack("<Q", len(sealed)) + sealed)
    stream.flush()


def receive(stream: Any) -> Any:
    """A value that `send` wrote."""
    from cellq.wire.pickling import loads

    return loads(bytearray(stream.read(struct.unpack("<Q", stream.read(8))[0])))


if __name__ == "__main__":
    sys.modules["both_ways"] = sys.modules["__main__"]
    worker() if sys.argv[1] == "worker" else notebook(sys.argv[1])
