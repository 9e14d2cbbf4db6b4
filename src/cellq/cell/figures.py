"""Figures that pyplot holds open between cells: those that `plt.ioff()` or `plt.rcdefaults()` keep from being shown.

The next cell draws on the current figure, so open figures travel with each cell, both ways. They stand in the same
pickle as the names, since `fig` may be one of them; which of them are open is ambient state (`NUMBERS`).

A figure that was open opens itself when it is unpickled, under a new number, and is drawn once more at the end of the
cell. So loading happens inside `closed`, and what is to be open is opened by `reopen`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from cellq.cell.provider import Provider

FIGURES = " figures"
"""Where the open figures stand among the names, by number; no name has a space."""

LARGEST = 16 * 2**20
"""Bytes up to which open figures go along with a cell."""

_HELPERS = "matplotlib._pylab_helpers"
_INLINE = "matplotlib_inline.backend_inline"


def _managers() -> dict[Any, Any]:
    helpers = sys.modules.get(_HELPERS)
    return {} if helpers is None else helpers.Gcf.figs


def opened() -> dict[str, object]:
    """The open figures, as a part of the names of a cell; nothing when there are none."""
    managers = _managers()
    return {FIGURES: {num: manager.canvas.figure for num, manager in managers.items()}} if managers else {}


@contextlib.contextmanager
def closed() -> Iterator[None]:
    """While this lasts, figures that are unpickled open nothing and are not drawn."""
    before, (to_draw, due) = dict(_managers()), _to_draw()
    try:
        yield
    finally:
        managers = _managers()
        if managers.keys() != before.keys():
            managers.clear()
            managers.update(before)
            inline = sys.modules.get(_INLINE)
            if inline is not None:
                inline.show._to_draw, inline.show._draw_called = to_draw, due


def _to_draw() -> tuple[list[object], bool]:
    """The figures that the end of the cell will show, and whether it will."""
    inline = sys.modules.get(_INLINE)
    return ([], False) if inline is None else (list(inline.show._to_draw), inline.show._draw_called)


def reopen(figures: object) -> None:
    """Open figures under their numbers; the last one is the current one.

    Args:
        figures: by number, from `opened`; None for none.
    """
    if not isinstance(figures, dict) or not figures:
        return
    backend = import_module("matplotlib.pyplot")._get_backend_mod()
    managers = _managers()
    for num, figure in figures.items():
        manager = figure.canvas.manager
        if manager is None:
            with closed():
                manager = backend.new_figure_manager_given_figure(num, figure)
        manager.num = num
        managers.pop(num, None)
        managers[num] = manager


def _numbers() -> object:
    return tuple(_managers())


def _close_others(numbers: Any) -> None:
    for num in [num for num in _managers() if num not in numbers]:
        sys.modules[_HELPERS].Gcf.destroy(num)


PROVIDERS = (Provider("open figures", _numbers, _close_others, module="matplotlib.pyplot"),)
