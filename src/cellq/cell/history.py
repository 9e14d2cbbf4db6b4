"""What the notebook's shell remembers: outputs, also of cells that ran elsewhere, and what cells assigned to."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from cellq.cell.names import dotted_stores


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
    module = sys.modules.get("IPython.core.getipython")
    shell = module.get_ipython() if module is not None else None
    return shell if shell is not None and shell.user_ns is namespace else None
