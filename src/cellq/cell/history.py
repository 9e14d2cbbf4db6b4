"""What the notebook's shell remembers: cells, their outputs, what they assigned to, and the last failure.

It does so as if no cell had run elsewhere: a cell that asks for `In[4]` gets that cell's text without the magic line.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from typing import Any

from cellq import here
from cellq.cell.names import dotted_stores

FAILURE = " failure"
"""Where the last failure stands among the names; no name has a space."""

_MAGIC = "enqueue"
_INPUTS = frozenset({"In", "_ih", "_i", "_ii", "_iii"})
_ASK_FOR_FAILURE = frozenset({"last_type", "last_value", "last_traceback", "last_exc", "print_last", "pm", "tb"})


def remember(value: object, execution_count: int | None, namespace: Mapping[str, object]) -> None:
    """Put a value that a cell has shown where the notebook would have put it.

    `_`, `__` and `___` move on only while that cell is the last one that was run: they mean the last output.

    Args:
        execution_count: the number of the cell.
        namespace: nothing is done unless it is the shell's own.
    """
    shell = _shell_of(namespace)
    if shell is None or execution_count is None:
        return
    if shell.displayhook.prompt_count == execution_count:
        shell.displayhook.update_user_ns(value)
    else:
        shell.user_ns[f"_{execution_count}"] = shell.user_ns["_oh"][execution_count] = value


def page(pages: Iterable[Mapping[str, object]], namespace: Mapping[str, object]) -> None:
    """Show in the shell's pager what a cell has sent to it (`len?`)."""
    shell = _shell_of(namespace)
    if shell is None:
        return
    for bundle in pages:
        shell.hooks.show_in_pager(dict(bundle), start=0, screen_lines=0)


def inputs(values: Mapping[str, object]) -> dict[str, object]:
    """The same names with the history of cells (`In`, `_i`) as it would be without the magic.

    Args:
        values: what a cell reads, by name.
    """
    found = dict(values)
    for name, value in values.items():
        if name in _INPUTS or (name.startswith("_i") and name[2:].isdecimal()):
            if isinstance(value, list):
                same = next((found[other] for other in found if values[other] is value and other != name), value)
                found[name] = [_parsed(text) for text in value] if same is value else same
            elif isinstance(value, str):
                found[name] = _raw(value)
    return found


def _parsed(text: str) -> str:
    """The text of a cell as `In` has it: what IPython has made of it."""
    if f"run_cell_magic('{_MAGIC}'" not in text:
        return text
    with suppress(SyntaxError):
        match ast.parse(text).body:
            case [ast.Expr(ast.Call(ast.Attribute(), [ast.Constant(magic), _, ast.Constant(str(cell))]))]:
                if magic == _MAGIC:
                    shell = here.shell()
                    return str(shell.transform_cell(cell)).rstrip("\n")
    return text


def _raw(text: str) -> str:
    """The text of a cell as `_i` has it: what was typed."""
    return text.partition("\n")[2] if text.startswith(f"%%{_MAGIC}") else text


def failure(words: Set[str]) -> dict[str, object]:
    """The last failure (`sys.last_value`), as a part of the names of a cell that asks for it.

    Args:
        words: the attributes, magics and words in texts that the cell uses.
    """
    value = getattr(sys, "last_value", None)
    return {} if value is None or _ASK_FOR_FAILURE.isdisjoint(words) else {FAILURE: value}


def fail(value: object) -> None:
    """Let the last failure be this one, of which the traceback has stayed where it was; None for none."""
    if isinstance(value, BaseException):
        known: Any = sys
        known.last_type, known.last_value, known.last_traceback = type(value), value, value.__traceback__
        if sys.version_info >= (3, 12):
            known.last_exc = value


_seen: dict[str, frozenset[str]] = {}


def stores(namespace: Mapping[str, object]) -> frozenset[str]:
    """The dotted names that the notebook's cells have assigned to so far ("pd.DataFrame.shout")."""
    found: set[str] = set()
    if _shell_of(namespace) is not None:
        for source in namespace["_ih"]:  # type: ignore[attr-defined]
            if source not in _seen:
                _seen[source] = dotted_stores(source)
            found |= _seen[source]
    return frozenset(found)


def _shell_of(namespace: Mapping[str, object]) -> Any:
    shell = here.shell()
    return shell if shell is not None and shell.user_ns is namespace else None
