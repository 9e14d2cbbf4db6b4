"""What a kernel finds of its notebook when it starts: jobs that a kernel before it has enqueued.

Those that have not ended are found in the store by where they come from. Those that ended while nobody was there are
found in the notebook: a card that was saved with it and is not final belongs to a job whose end it has not seen, and
what ended after it was saved it cannot have seen. A notebook is saved only now and then: so a kernel that sees a job
end notes that in a small file per notebook. In another one it notes the stores that cells have named (`--url`), but
none with a password.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cellq import settings
from cellq.client.sync import Job, Queue
from cellq.errors import Expired
from cellq.ids import id_text, short_id
from cellq.message import Row, State
from cellq.notebook.origin import Origin

log = logging.getLogger("cellq.notebook")

_ENDED = 200
"""Jobs of a store of which those that ended lately are looked for, the newest first."""

_MOST = 1000
"""Unfinished jobs of a store that are looked through, the newest first."""

_TOLD = 5
"""Jobs that are told one by one."""

_ID = r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
# In the JSON of a notebook: the id of a card's widget, and a card in HTML that says how the job stood.
_OPEN_CARD = re.compile(
    rf'"model_id":\s*"cellq-{_ID}|cellq-card cellq-(?:pending|running)\b.{{0,400}}?{_ID}', re.DOTALL
)


def open_cards(notebook: Path) -> list[str]:
    """The ids of the jobs whose cards in a saved notebook are not final, in the order of its cells."""
    try:
        text = notebook.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    return list(dict.fromkeys(widget or plain for widget, plain in _OPEN_CARD.findall(text)))


def left_behind(queue: Queue, here: Origin) -> list[Job[Any]]:
    """The jobs that kernels before this one have left to it, the oldest first.

    Args:
        queue: of the store to look in; a database that does not exist is not made.
        here: the origin of what this kernel enqueues.

    Raises:
        StoreUnavailable: it cannot be reached.
    """
    if not here.notebook or queue.url.startswith("memory:"):
        return []
    if queue.url.startswith("sqlite:") and not settings.sqlite_path(queue.url).exists():
        return []
    notebook = Path(here.notebook)
    unfinished = queue.recent(_MOST, states=(State.PENDING, State.RUNNING))
    saved = notebook.stat().st_mtime if notebook.exists() else float("inf")
    ended = [row for row in queue.recent(_ENDED) if row.finished is not None and row.finished > saved]
    ids = {id_text(row.id) for row in ended if Origin.of(row.origin).left_behind(here)}
    for job_id in open_cards(notebook):
        with contextlib.suppress(Expired):
            row = queue.get(job_id).row()
            if row.state.ended and not Origin.of(row.origin).lives():
                ids.add(job_id)
    ids -= ends_seen(here.notebook)
    ids |= {id_text(row.id) for row in unfinished if Origin.of(row.origin).left_behind(here)}
    return [queue.get(job_id) for job_id in sorted(ids)]


def stores_of(notebook: str) -> list[str]:
    """The URLs of the stores that cells of a notebook have named."""
    try:
        return list(dict.fromkeys(_record_of(notebook, "stores").read_text().split("\n")[:-1]))
    except OSError:
        return []


def note_store(notebook: str, url: str) -> None:
    """Note that a cell of this notebook has named a store.

    Args:
        url: as people see it.
    """
    if settings.HIDDEN not in url and not url.startswith("memory:") and url not in stores_of(notebook):
        _note(_record_of(notebook, "stores"), url)


def ends_seen(notebook: str) -> set[str]:
    """The ids of jobs of a notebook whose end a kernel has seen."""
    try:
        return set(_record_of(notebook, "ends").read_text().split())
    except OSError:
        return set()


def see_end(notebook: str, job_id: str) -> None:
    """Note that a kernel has seen the end of a job of this notebook."""
    _note(_record_of(notebook, "ends"), job_id)


def _note(path: Path, line: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("a") as file:
            file.write(f"{line}\n")
    except OSError as error:  # a folder that cannot be written: then a restarted kernel knows less, or tells it twice
        log.info("cannot note %s in %s: %s", line, path, error)


def _record_of(notebook: str, what: str) -> Path:
    return settings.home() / what / f"{Origin.digest(notebook)}.txt"


def told(rows: Sequence[Row]) -> str:
    """What was found, in one line."""
    each = [f"{row.name or row.task} ({short_id(row.id)}) {_stands(row)}" for row in rows[:_TOLD]]
    if len(rows) > _TOLD:
        each.append(f"and {len(rows) - _TOLD} more jobs")
    return f"cellq: {', '.join(each)}; `%jobs attach ID` shows one here"


def _stands(row: Row) -> str:
    if row.state is State.PENDING:
        return "still waits"
    return "still runs" if row.state is State.RUNNING else f"{row.state} meanwhile"
