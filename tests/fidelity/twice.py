"""Runs a notebook plainly and again with every cell wrapped in `%%enqueue --wait`, and compares cell by cell.

    python tests/fidelity/twice.py notebook.ipynb ...        (or a text: see `read`)

    plain     a kernel runs the cells                                   ─┐
    again     the same once more: what differs from itself does not count ├─▶ compared, cell by cell
    wrapped   a kernel runs "%%enqueue --wait\\n" + cell, with one warm   ─┘
              worker on a SQLite store of its own

All of it is real: nbclient, kernels, the magic, the store, the worker. Compared are the cell's status and exception,
the text of its streams, its displays (kinds, mime types, texts; of pictures the pixel size), and after each cell what
every name of the notebook holds (see `digest`). The notebook runs in a fresh copy of its folder, each time under the
same path.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

MAGIC = "%%enqueue --wait"
DIGEST = Path(__file__).with_name("digest.py")
_CHEAP = 1.0  # seconds that a cell may take plainly to count for the overhead
_NOT_WRAPPED = re.compile(r"(?m)^\s*(%%enqueue|%load_ext|%reload_ext)\b")
_COMPANIONS = 100 << 20  # bytes of files beside the notebook that are copied


@dataclass
class Ran:
    """One cell as it ran one way.

    Attributes:
        shape: its status and outputs as they must be the same both ways.
        names: digests of all names after it.
        changed: which of them are not as before it.
        seconds: from the kernel's start on it to its answer.
        notes: what its card said below the first line.
    """

    shape: dict[str, Any]
    names: dict[str, str]
    seconds: float
    notes: list[str] = field(default_factory=list)


@dataclass
class Verdict:
    """What became of one cell.

    Attributes:
        differences: what is not the same, one line each; none when all is.
        figures: pictures it shows plainly.
        overhead: seconds more than plainly, None when it was not wrapped or takes long anyway.
    """

    number: int
    source: str
    differences: list[str]
    figures: int
    figures_same: bool
    overhead: float | None
    notes: list[str]


class _Client(NotebookClient):
    """Takes a digest of the names after each cell."""

    digests: list[dict[str, str]]

    async def digest(self, path: Path) -> dict[str, str]:
        code = f"__import__('runpy').run_path({str(DIGEST)!r})['write']({str(path)!r})"
        assert self.kc is not None
        ident = self.kc.execute(code, silent=True, store_history=False, allow_stdin=False)
        if not isinstance(ident, str):
            ident = await ident
        while True:
            reply = await self.kc.get_shell_msg(timeout=60)
            if reply["parent_header"].get("msg_id") == ident:
                break
        if reply["content"]["status"] != "ok":
            raise RuntimeError("\n".join(reply["content"].get("traceback", [])))
        found: dict[str, str] = json.loads(path.read_text())
        return found


def read(path: Path) -> Any:
    """A notebook: an .ipynb, or a text whose cells stand below lines `# %%` (`# %% md` for prose)."""
    if path.suffix == ".ipynb":
        return nbformat.read(path, as_version=4)
    cells = []
    for part in re.split(r"(?m)^# %%", path.read_text())[1:]:
        kind, _, source = part.partition("\n")
        make = nbformat.v4.new_markdown_cell if "md" in kind else nbformat.v4.new_code_cell
        cells.append(make(source.removesuffix("\n")))
    return nbformat.v4.new_notebook(cells=cells)


def run(path: Path, home: Path, *, wrapped: bool, timeout: float = 120.0) -> list[Ran]:
    """Run a notebook one way.

    Args:
        path: the notebook.
        home: an empty folder to work in; the notebook runs in `home/nb`.
        timeout: seconds for each cell.
    """
    notebook = read(path)
    folder = home / "nb"
    _copy_companions(path, folder)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    sources = [cell.source for cell in cells]
    for cell, source in zip(cells, sources, strict=True):
        cell.outputs, cell.execution_count = [], None
        if wrapped and source.strip() and not _NOT_WRAPPED.search(source):
            cell.source = f"{MAGIC}\n{source}"
    # As many cells before it both ways: the numbers of the cells are among what is compared.
    before = ["%load_ext cellq", f"{MAGIC}\n0;", f"{MAGIC}\n0;"] if wrapped else ["0;", "0;", "0;"]
    notebook.cells = [*(nbformat.v4.new_code_cell(source) for source in before), *cells]
    with _kernel_environment(home, worker=wrapped):
        return _execute(notebook, folder, home, len(before), timeout)


def _execute(notebook: Any, folder: Path, home: Path, before: int, timeout: float) -> list[Ran]:
    digests: dict[int, dict[str, str]] = {}
    seconds: dict[int, float] = {}
    started: dict[int, float] = {}

    def on_execute(cell: Any, cell_index: int) -> None:
        started[cell_index] = time.monotonic()

    async def on_executed(cell: Any, cell_index: int, execute_reply: Any) -> None:
        seconds[cell_index] = time.monotonic() - started[cell_index]
        if cell_index >= before:
            digests[cell_index] = await client.digest(home / "digest.json")

    client = _Client(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
        on_cell_execute=on_execute,
        on_cell_executed=on_executed,
    )
    ended = ""
    try:
        client.execute()
    except (CellTimeoutError, DeadKernelError) as error:
        ended = type(error).__name__
    for cell in notebook.cells[:before]:
        if any(output.get("name") == "stderr" or output.output_type == "error" for output in cell.get("outputs", [])):
            raise RuntimeError(f"{cell.source!r} failed: {cell.outputs}")
    found, last = [], dict[str, str]()
    for index, cell in enumerate(notebook.cells[before:], before):
        shape, notes = _shape(cell.get("outputs", []))
        if index not in digests and cell.source.strip():
            shape["status"] = ended or "not run"
        last = digests.get(index, last)
        found.append(Ran(shape, last, seconds.get(index, 0.0), notes))
    return found


def _copy_companions(path: Path, folder: Path) -> None:
    """What lies beside the notebook may be read by it: modules, data."""
    folder.mkdir(parents=True)
    for item in path.parent.iterdir():
        if item.name.startswith((".", "__pycache__")) or item.suffix in (".ipynb", path.suffix):
            continue
        size = sum(part.stat().st_size for part in item.rglob("*")) if item.is_dir() else item.stat().st_size
        if size <= _COMPANIONS:
            (shutil.copytree if item.is_dir() else shutil.copy)(item, folder / item.name)


@contextlib.contextmanager
def _kernel_environment(home: Path, *, worker: bool) -> Iterator[None]:
    """The environment that kernels inherit; with a worker on a store of its own, if asked for."""
    url = f"sqlite:///{home / 'jobs.db'}"
    ours = {"CELLQ_HOME": str(home / "user"), "CELLQ_URL": url, "PYTHONHASHSEED": "0"}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    process = None
    if worker:
        elsewhere = home / "elsewhere"
        elsewhere.mkdir()
        command = [sys.executable, "-m", "cellq", "worker", "--url", url, "-n", "1"]
        process = subprocess.Popen(command, cwd=elsewhere, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# ------------------------------------------------------------------------------------------ what is compared


def _shape(outputs: list[Any]) -> tuple[dict[str, Any], list[str]]:
    """A cell's outputs as they must be the same both ways; and the lines of its card."""
    shown: list[Any] = []
    errors = ""
    notes: list[str] = []
    status = "ok"
    for output in outputs:
        kind = output.output_type
        if kind == "stream":
            text = _text(output.text)
            if output.name == "stderr":
                errors += text
            elif shown and shown[-1][0] == "stream":
                shown[-1][1] += text
            elif text:
                shown.append(["stream", text])
        elif kind == "error":
            status = f"{output.ename}: {_text(output.evalue)}"
        elif "cellq-card" in str(output.data.get("text/html", "")):
            notes += str(output.data["text/plain"]).splitlines()[1:]
        else:
            shown.append([kind, {mime: _content(mime, data) for mime, data in sorted(output.data.items())}])
    # A bar that is left out leaves its line end.
    return {"status": status, "shown": shown, "stderr": errors if errors.strip() else ""}, notes


def _content(mime: str, data: Any) -> Any:
    if mime == "image/png":
        raw = b64decode(data)
        return "png {}x{}".format(*struct.unpack(">II", raw[16:24]))
    if mime == "image/svg+xml":
        return re.findall(r'(?:width|height)="[^"]*"', data)[:2]
    if mime.startswith("text/"):
        return _text(data)
    return "there"


def _text(text: str) -> str:
    """Text without what differs between two processes: colours, addresses, numbers of processes; bars of tqdm."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"0x[0-9a-fA-F]{6,}", "0x", text)
    text = re.sub(r"(?m)^.*\d+%\|.*$\n?|(?m:^.*\d+it \[\d\d:.*$\n?)", "", text)  # bars arrive as numbers, in the card
    text = re.sub(
        r"(?:/tmp/ipykernel_\d+/\d+\.py|<ipython-input-[^>]*>):\d+", "<cell>", text
    )  # the magic counts as a line
    text = re.sub(r"sk-(container|estimator)-id-\d+", r"sk-\1-id", text)
    text = re.sub(r"(?m)^(CPU times|Wall time):.*$", r"\1", text)
    text = re.sub(r"\((?:\d+\.py|Cell In\[\d+\]), line \d+\)", "(<cell>)", text)
    return re.sub(r"(?m)^[\d.]+ (?:ns|[µμu]s|ms|s) ± .*$", "timing", text)


def compare(plain: list[Ran], again: list[Ran], wrapped: list[Ran], sources: list[str]) -> list[Verdict]:
    """Cell by cell; what differs between the two plain runs does not count."""
    verdicts = []
    known: set[str] = set()  # differences of names that an earlier cell is to blame for
    for number, (one, two, three, source) in enumerate(zip(plain, again, wrapped, sources, strict=True), 1):
        found = []
        for part, value in one.shape.items():
            if value == two.shape[part] and value != three.shape[part]:
                found.append(f"{part}: {_first_difference(value, three.shape[part])}")
        for name in sorted(one.names.keys() | three.names.keys()):
            if one.names.get(name) != two.names.get(name):
                continue
            here, there = one.names.get(name), three.names.get(name)
            if name in ("_", "__", "___") and _outputs(one) != _outputs(three):
                continue  # they repeat what is told as `Out[n]`
            mark = f"{name} {here} {there}"
            if here != there and mark not in known:
                known.add(mark)
                found.append(f"name {name}: {_first_difference(str(here), str(there))}")
        figures = [entry for entry in one.shape["shown"] if "png" in str(entry[1]) or "svg" in str(entry[1])]
        same = figures == [entry for entry in three.shape["shown"] if "png" in str(entry[1]) or "svg" in str(entry[1])]
        quick = min(one.seconds, two.seconds)
        is_wrapped = bool(source.strip()) and not _NOT_WRAPPED.search(source)
        overhead = three.seconds - quick if quick < _CHEAP and is_wrapped else None
        verdicts.append(Verdict(number, source, found, len(figures), same, overhead, three.notes))
    return verdicts


def _outputs(ran: Ran) -> dict[str, str]:
    return {name: text for name, text in ran.names.items() if name.startswith("Out[")}


def _first_difference(one: Any, other: Any) -> str:
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return next(_first_difference(a, b) for a, b in zip(one, other, strict=True) if a != b)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next(f"{key}: {_first_difference(one[key], other[key])}" for key in one if one[key] != other[key])
    a, b = str(one), str(other)
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    start = max(0, at - 30)
    return f"{a[start : at + 120]!r}  !=  {b[start : at + 120]!r}"


def hold(path: Path, *, timeout: float = 120.0) -> list[Verdict]:
    """Run a notebook all ways and compare.

    Args:
        path: the notebook.
        timeout: seconds for each cell.
    """
    sources = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    runs = []
    # One path for all runs: notebooks print where they are.
    top = Path(tempfile.gettempdir()) / f"cellq-twice-{os.getpid()}"
    for wrapped in (False, False, True):
        top.mkdir()
        try:
            runs.append(run(path, top, wrapped=wrapped, timeout=timeout))
        finally:
            shutil.rmtree(top, ignore_errors=True)
    return compare(*runs, sources)


def report(path: Path, verdicts: list[Verdict], *, full: bool = True) -> str:
    """A line for the notebook, and for each cell that differs what does."""
    same = sum(not verdict.differences for verdict in verdicts)
    figures = sum(verdict.figures for verdict in verdicts)
    kept = sum(verdict.figures for verdict in verdicts if verdict.figures_same)
    overheads = [verdict.overhead for verdict in verdicts if verdict.overhead is not None]
    cost = f"{1000 * median(overheads):.0f} ms" if overheads else "-"
    lines = [f"{path.stem:32} cells {same}/{len(verdicts)}  figures {kept}/{figures}  overhead {cost}"]
    for verdict in verdicts:
        if verdict.differences and full:
            lines.append(f"  [{verdict.number}] " + verdict.source.strip().replace("\n", "\n      "))
            lines += [f"    - {difference}" for difference in verdict.differences]
            lines += [f"    card: {note}" for note in verdict.notes]
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for each cell")
    args = parser.parse_args()
    everything: list[Verdict] = []
    for path in args.notebooks:
        verdicts = hold(path.resolve(), timeout=args.timeout)
        everything += verdicts
        print(report(path, verdicts), flush=True)
    print(report(Path("all"), everything, full=False))
    sys.exit(any(verdict.differences for verdict in everything))


if __name__ == "__main__":
    main()
