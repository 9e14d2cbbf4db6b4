"""What all handles have in common, of one job or of several, sync or async: they stand for results."""

from __future__ import annotations

from collections.abc import Sequence

from cellq.client.record import Record
from cellq.wire.inputs import Handle, Reference


class Held(Handle):
    """A job, or several, in somebody's hands. Among the arguments of a call it becomes what the jobs returned."""

    __slots__ = ()

    def held(self) -> Sequence[Record]:
        """The jobs themselves, in order."""
        raise NotImplementedError

    def references(self) -> list[Reference]:
        """See `wire.inputs.Handle`."""
        return [Reference(record.id, record.label) for record in self.held()]
