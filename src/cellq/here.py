"""What each process has one of: its IPython shell, its event loop, its widgets.

None of them travels. What belongs to one of them finds, on the other side, that side's own.
"""

from __future__ import annotations

import sys
from typing import Any

VIEW = "application/vnd.jupyter.widget-view+json"
"""The type of an output that is a widget, for front ends that draw it."""


def shell() -> Any:
    """The IPython shell of this process; None without one. IPython is not imported for the question."""
    module = sys.modules.get("IPython.core.getipython")
    return None if module is None else module.get_ipython()


def loop() -> Any:
    """The event loop in which the cells of this process run."""
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        from IPython.core.async_helpers import get_asyncio_loop

        return get_asyncio_loop()  # type: ignore[no-untyped-call]


def widget(model_id: str | None) -> Any:
    """The widget of this process that front ends know by an id; None if it is not here."""
    known = getattr(sys.modules.get("ipywidgets.widgets.widget"), "_instances", {})
    return known.get(model_id)
