"""`python benchmarks`: measure cellq beside others, and print one table. See README.md for how to read it."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import secrets
import sys
import tempfile
import time
import traceback
from pathlib import Path

from figures import Line, show
from measuring import Machine
from rich.console import Console

import cellq

SUBJECTS = (
    "throughput",
    "mapping",
    "roundtrip",
    "draining",
    "claiming",
    "idling",
    "arrays",
    "stopping",
    "notebook",
    "serving",
)
"""One file each, with `measure(room, *, quick) -> list[Line]`."""


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    known = [name for name in SUBJECTS if (Path(__file__).parent / f"{name}.py").exists()]
    parser.add_argument("subjects", nargs="*", metavar="benchmark", help=f"only these; there are: {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="fewer jobs and turns; for trying things out")
    parser.add_argument("--json", metavar="FILE", help="write all values into this file as well; - for standard output")
    parser.add_argument("--dir", type=Path, help="where databases go (a folder of its own is made there)")
    asked = parser.parse_args()
    unknown = [name for name in asked.subjects if name not in known]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(known)}")

    console, machine = Console(stderr=asked.json == "-"), Machine()
    if not console.is_terminal:
        console.width = 160
    about = (
        f"cellq {cellq.__version__}, Python {platform.python_version()}, {platform.system()} {platform.release()}, "
        f"{machine}"
    )
    console.print(about, highlight=False)
    lines: list[tuple[str, Line]] = []
    busy: dict[str, float] = {}
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="cellq-benchmarks-", dir=asked.dir) as room:
        # A secret for this run: nothing of it remains in the user's folders.
        os.environ |= {"CELLQ_SECRET": secrets.token_hex(32), "CELLQ_HOME": room}
        for name in asked.subjects or known:
            others, start = machine.others(), time.monotonic()
            if others > machine.busy_over:
                busy[name] = others
            place = Path(room, name)
            place.mkdir()
            console.print(f"{name} …", end=" ", highlight=False)
            try:
                lines += [(name, line) for line in importlib.import_module(name).measure(place, quick=asked.quick)]
            except Exception:
                failed.append(name)
                traceback.print_exc()
            console.print(f"{time.monotonic() - start:.0f} s", highlight=False)
    show(console, lines)
    for name, others in busy.items():
        console.print(f"! {name}: others used {others:.0f} % of this machine when it began; take it with salt")
    for name in failed:
        console.print(f"! {name} could not be measured; see above")
    console.print(f"in the end: {machine}", highlight=False)
    if asked.json:
        result = {"about": about, "quick": asked.quick, "busy": busy, "failed": failed}
        result["lines"] = [{"benchmark": name, **line.as_json()} for name, line in lines]
        text = json.dumps(result, indent=1)
        if asked.json == "-":
            sys.stdout.write(text + "\n")
        else:
            Path(asked.json).write_text(text + "\n")


if __name__ == "__main__":
    main()
