"""Running a notebook cell in a slot: unpack, run, collect.

The namespace of the job is `__main__` of this process, so that pickling, `globals()` and multiprocessing find what the
cell defines where they look for it. A cell that fails still gives back what it had assigned, as it would have stayed
in the notebook.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any

from cellq.cell.parcel import Parcel, unpack
from cellq.cell.returned import Returned, collect, nothing
from cellq.runner import lessons, shell
from cellq.runner.shell import Emit


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """How a cell ended.

    Attributes:
        returned: what it did to its names, also when it failed; its last value.
        error: what it raised, None when it ran through; KeyboardInterrupt and SystemExit as such.
        traceback: the error as the notebook shows it, with ANSI colours.
    """

    returned: Returned
    error: BaseException | None = None
    traceback: str = ""


def run_cell(parcel: Parcel, job_id: str, emit: Emit) -> CellOutcome:
    """Run a cell in this process's `__main__`.

    Args:
        parcel: what `cellq.cell.parcel.pack` made.
        job_id: prefix for the ids of its displays.
        emit: takes what the cell shows, as Jupyter messages.

    Raises:
        CellqError: IPython is not installed here.
    """
    place = shell.current()
    imported = set(sys.modules)
    _reseed_once()
    place.open_loop()
    try:
        before = unpack(parcel, place.user_ns)
    except BaseException as error:
        return _not_unpacked(error, emit)
    result: Any = place.serve(
        parcel.source,
        header=parcel.header,
        execution_count=parcel.execution_count,
        job_id=job_id,
        emit=emit,
    )
    lessons.tell(imported)
    raised: BaseException | None = result.error_before_exec or result.error_in_exec
    value = None if raised is not None else place.value
    returned = collect(place.user_ns, parcel, before, value, shown=place.shown, viewed=place.viewed, pages=place.pages)
    return CellOutcome(returned, raised, place.traceback)


def _not_unpacked(error: BaseException, emit: Emit) -> CellOutcome:
    text = f"{type(error).__name__}: {error}\n(while the names this cell needs were unpacked in the worker)"
    emit("error", {"ename": type(error).__name__, "evalue": str(error), "traceback": text.splitlines()})
    return CellOutcome(nothing(), error, text)


@functools.cache
def _reseed_once() -> None:
    """Forked children share NumPy's global generator, which would make their random numbers the same."""
    generator = sys.modules.get("numpy.random")
    if generator is not None:
        generator.seed()
