"""`%%enqueue --once`: a cell that ran, or runs, with the same inputs is not run again.

The same is: the same text, the same values of all names that travel with it, the same names wanted back, the same
directory, the same Python. What a cell finds elsewhere counts for nothing: files, the environment, the state of random
generators, versions of installed packages.

The fingerprint of all that is the job's key, of which a store lets only one job live: two kernels that run the cell at
the same moment get one job.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from cellq.cell.closure import needed
from cellq.cell.digest import Undigestible, digest
from cellq.cell.names import analyse
from cellq.client.sync import Job, Queue
from cellq.message import Row, State
from cellq.notebook.cards.card import duration
from cellq.settings import RUNTIME


def key_of(
    source: str,
    namespace: Mapping[str, object],
    outputs: tuple[str, ...] | None,
    skip: tuple[str, ...] = (),
    own: Mapping[str, int] | None = None,
) -> str:
    """The key of a cell with its inputs.

    Args:
        source, namespace, outputs, skip: as for `cellq.cell.parcel.pack`, which has taken them.
        own: names that earlier jobs of this cell have bound, with the ids of what they bound them to. One that the cell
            binds itself, though not for sure before it reads it (in a loop), is no input while it is still that.

    Raises:
        Undigestible: an input cannot be compared; the message names it.
    """
    needs = needed(analyse(source), namespace)
    inputs = {}
    results = {name for name in needs.writes & needs.extras.keys() if (own or {}).get(name) == id(namespace[name])}
    for name, value in sorted({**needs.values, **needs.extras}.items()):
        if name in skip or name in results:
            continue
        try:
            inputs[name] = digest(value)
        except Undigestible as error:
            raise Undigestible(f"`{name}` cannot be compared ({error})") from error
    return "once:" + digest((source.rstrip(), outputs, RUNTIME, os.path.realpath(""), inputs)).hex()


def ran_before(queue: Queue, key: str) -> Job[Any] | None:
    """The job of this key that goes on, or else the latest that completed; None if there is none."""
    rows = queue.recent(100, states=(State.PENDING, State.RUNNING, State.COMPLETED), key=key)
    rows.sort(key=lambda row: row.state is State.COMPLETED)
    return queue.get(rows[0].id) if rows else None


def because(row: Row) -> str:
    """Why the cell did not start a job, in a line."""
    if row.state is State.COMPLETED:
        ago = duration(time.time() - (row.finished or row.created), whole=True)
        return f"not run again (--once): it ended {ago} ago with the same inputs"
    return "not started again (--once): it goes on already, with the same inputs"
