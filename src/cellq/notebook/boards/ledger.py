"""The groups that a notebook has shown, written down, so that a kernel after this one finds their jobs again.

A saved card tells which group it is, but not of which jobs, of which there may be ten thousand. So that is kept in the
user's own directory: one small file per card, in a folder per notebook. It is read only when a page asks for that card.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cellq import settings
from cellq.ids import JobId
from cellq.notebook.origin import Origin

log = logging.getLogger("cellq.notebook")

_KEPT = 30 * 24 * 3600.0
"""Seconds for which a group can be found again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A group that was shown.

    Attributes:
        name: of its card.
        origin: the cell that shows it.
        run: which run of that cell.
        url: of the store, without its password.
        ids: of its jobs, in its order.
        shown: when (epoch seconds).
    """

    name: str
    origin: Origin
    run: str
    url: str
    ids: Sequence[JobId]
    shown: float = 0.0


def note(entry: Entry) -> None:
    """Write a group down; what earlier runs of its cell have shown is forgotten."""
    folder = _folder(entry.origin)
    told = {"origin": asdict(entry.origin), "run": entry.run, "url": entry.url, "ids": b"".join(entry.ids).hex()}
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _forget_old(folder.parent)
        for earlier in _entries(folder):
            if earlier.run != entry.run and earlier.origin.is_cell(entry.origin):
                (folder / f"{earlier.name}.json").unlink(missing_ok=True)
        (folder / f"{entry.name}.json").write_text(json.dumps(told))
    except OSError as error:  # a folder that cannot be written: then its card does not come back
        log.info("cannot note the group of %s: %s", entry.name, error)


def left_behind(here: Origin) -> list[Entry]:
    """The groups that kernels before this one have shown in this notebook, the oldest first."""
    return [entry for entry in _entries(_folder(here)) if entry.origin.left_behind(here)] if here.notebook else []


def _entries(folder: Path) -> list[Entry]:
    found = (_read(path) for path in folder.glob("*.json"))
    return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.shown)


def _read(path: Path) -> Entry | None:
    try:
        told = json.loads(path.read_text())
        ids = bytes.fromhex(told["ids"])
        origin = Origin.of(json.dumps(told["origin"]))
        places = [ids[at : at + 16] for at in range(0, len(ids), 16)]
        return Entry(path.stem, origin, told["run"], told["url"], places, path.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):  # half written, or removed meanwhile
        return None


def _folder(origin: Origin) -> Path:
    return settings.home() / "groups" / Origin.digest(origin.notebook)


def _forget_old(folder: Path) -> None:
    for path in folder.glob("*/*.json"):
        if time.time() - path.stat().st_mtime > _KEPT:
            path.unlink(missing_ok=True)
