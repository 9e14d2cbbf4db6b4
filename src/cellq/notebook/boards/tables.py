"""`%jobs` and `%workers` as tables: plain text, shown as HTML where that can be drawn and as columns elsewhere."""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cellq.ids import short_id
from cellq.message import Row, WorkerInfo
from cellq.notebook.cards.card import MARKS, duration, face_of

_STYLE = "text-align:left"


@dataclass(frozen=True)
class Table:
    """Cells of plain text under a headline; `empty` is said when there are none."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str
    caption: str = ""

    def __repr__(self) -> str:
        """Columns, padded with blanks."""
        if not self.rows:
            return self.empty
        lines = [list(self.columns), *(list(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        text = "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
        return f"{text}\n{self.caption}" if self.caption else text

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<p>{html.escape(self.empty)}</p>"
        head = "".join(f'<th style="{_STYLE}">{html.escape(name)}</th>' for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f'<td style="{_STYLE}">{html.escape(cell)}</td>' for cell in row) + "</tr>"
            for row in self.rows
        )
        below = f"<p>{html.escape(self.caption)}</p>" if self.caption else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def jobs(rows: Iterable[Row], url: str) -> Table:
    """Jobs, as they were read.

    Args:
        url: the store they are in.
    """
    now = time.time()
    lines = []
    for row in rows:
        face = face_of(row, now=now)
        lines.append(
            (
                face.short,
                face.name,
                row.queue,
                f"{MARKS[row.state]} {face.label}",
                _when(row.created, now),
                str(face.clock) if face.clock is not None and row.started is not None else "",
                " · ".join(face.facts)[:100],
            )
        )
    return Table(("id", "name", "queue", "state", "enqueued", "took", ""), lines, f"no jobs in {url}")


def workers(found: Iterable[WorkerInfo], url: str) -> Table:
    """Workers that are alive.

    Args:
        url: the store they work for.
    """
    now = time.time()
    lines = [
        (
            short_id(worker.id),
            worker.host,
            str(worker.pid),
            ", ".join(worker.queues),
            f"{worker.busy} of {worker.slots}",
            worker.runtime,
            _when(worker.started, now),
        )
        for worker in found
    ]
    empty = f"no worker runs for {url}; %workers start starts one"
    return Table(("id", "machine", "process", "queues", "busy slots", "Python", "started"), lines, empty)


def _when(moment: float, now: float) -> str:
    """A time as people say it: how long ago, or the date."""
    ago = now - moment
    if ago < 86_400:
        return f"{duration(ago, whole=True)} ago"
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")
