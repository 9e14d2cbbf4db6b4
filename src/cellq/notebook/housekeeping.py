"""Cells of nothing but magics for the notebook's own shell: its history, names and log, its extensions and settings.

A worker's shell has none of that to tell or to keep. So such a cell runs here, at once, although `%%enqueue` stands
above it.
"""

from __future__ import annotations

import re
from typing import Any

_ABOUT_THE_SHELL = frozenset(
    {"history", "hist", "recall", "rep", "rerun", "macro", "save", "notebook", "load", "loadpy", "edit", "pastebin"}
    | {"logstart", "logstop", "logon", "logoff", "logstate", "store", "who", "who_ls", "whos", "xdel"}
    | {"reset", "reset_selective", "lsmagic", "magic", "quickref", "doctest_mode", "connect_info", "automagic"}
    | {"cd", "pushd", "popd", "dirs", "dhist", "bookmark"}
    | {"load_ext", "reload_ext", "unload_ext", "autoreload", "aimport", "config", "matplotlib", "pylab"}
)
_LINE = re.compile(r"%(\w+)(?: +(.*))?")


def lines_of(cell: str) -> list[tuple[str, str]]:
    """The magics of a cell, with their arguments, if all of it is about the shell; else none."""
    found = []
    for line in cell.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None or match[1] not in _ABOUT_THE_SHELL:
            return []
        found.append((match[1], match[2] or ""))
    return found


def keep(shell: Any, lines: list[tuple[str, str]]) -> Any:
    """Run them in this shell; gives what the last one gave."""
    return [shell.run_line_magic(name, rest) for name, rest in lines][-1]
