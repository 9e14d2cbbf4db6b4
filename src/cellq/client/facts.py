"""What is known about a job without waiting for it: the part that sync and async handles share."""

from __future__ import annotations

import html
import json
from datetime import UTC, datetime
from typing import Any

from cellq.client.handle import Held
from cellq.client.record import Record
from cellq.ids import id_text, short_id
from cellq.message import Failure, Row, State


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


class Facts(Held):
    """A job as its row tells it. A handle says where the row comes from: from the store now, or as last seen."""

    __slots__ = ()

    _record: Record

    def held(self) -> list[Record]:
        """See `Held`."""
        return [self._record]

    def _row_now(self) -> Row | None:
        """The row as last seen; None for a job just enqueued, of which nothing has been read."""
        return self._record.row

    @property
    def id(self) -> str:
        """The id as canonical UUID text; `Queue.get` finds the job by it, in any process."""
        return id_text(self._record.id)

    @property
    def short(self) -> str:
        """The last 8 digits of the id, as people see and type it."""
        return short_id(self._record.id)

    @property
    def name(self) -> str:
        """What people call it: the `name` option, or the function's name."""
        return self._record.label

    @property
    def state(self) -> State:
        """pending, running, completed, failed or cancelled."""
        row = self._row_now()
        return State.PENDING if row is None else row.state

    def done(self) -> bool:
        """True once it has completed, failed or been cancelled."""
        return self.state.ended

    @property
    def attempt(self) -> int:
        """How many times it has been started."""
        row = self._row_now()
        return 0 if row is None else row.attempt

    @property
    def progress(self) -> Any:
        """The state of its progress bars, as the job last reported it; an empty list before that."""
        row = self._row_now()
        return json.loads(row.progress) if row is not None and row.progress else []

    @property
    def failure(self) -> Failure | None:
        """Why the last attempt failed, in plain text; None when none did."""
        row = self._row_now()
        return None if row is None else row.failure

    @property
    def created(self) -> datetime:
        """When it was enqueued, UTC."""
        row = self._row_now()
        # An id of version 7 begins with its milliseconds.
        made = int.from_bytes(self._record.id[:6], "big") / 1000 if row is None else row.created
        return datetime.fromtimestamp(made, UTC)

    @property
    def started(self) -> datetime | None:
        """When its latest attempt started, UTC."""
        row = self._row_now()
        return None if row is None else _moment(row.started)

    @property
    def finished(self) -> datetime | None:
        """When it ended, UTC."""
        row = self._row_now()
        return None if row is None else _moment(row.finished)

    def _state_or_unknown(self) -> str:
        try:
            return self.state.value
        except Exception:
            return "unknown"  # a repr must not raise because a server is away

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.short} {self._state_or_unknown()}>"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(self.name)}</code> {self.short} <b>{self._state_or_unknown()}</b>"

    def __eq__(self, other: object) -> bool:
        return self._record.id == other._record.id if isinstance(other, Facts) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._record.id)
