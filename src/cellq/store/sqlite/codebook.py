"""The code that jobs refer to: kept once per digest, as long as a job needs it, at no cost to a push that brings none.

A count of references would be written by each push and each delete. Instead each code names a *witness*, the first job
that refers to it. While that job is there the code is needed, and nothing has to be written; a push only looks that no
job gets in before the witness (numbers at the end are given anew when the last jobs were deleted).

When the witness is deleted, another one is looked for among the jobs behind it, a stretch per `prune`. Codes that have
lost theirs meanwhile wait for the next search: like people for a lift, so that one ride serves any number of them.

    jobs  ··········▒▒▒▒▒▒▒▒▒▒─────────────────▶ end: nobody needs those that are still looked for
          searched    stretch   to be searched
                    ▲ the place of the search: the least `witness` of those with `search` = 1

All of it happens inside write transactions, so a push always sees whether its code is still there.
"""

from __future__ import annotations

from cellq.store.sqlite.statements import statements
from cellq.store.sqlite.turn import Turn

_SQL = statements("codebook")

STRETCH = 20_000
"""Jobs looked at per `sweep`: 5 to 10 ms."""


def hold(turn: Turn, digest: bytes, body: bytes | str | None, seq: int | None) -> None:
    """Note what was pushed.

    Args:
        body: the code as a row is to hold it, None when it was not brought along.
        seq: the first new job that refers to it, None when there is none.
    """
    found = turn.sql.execute(_SQL.standing, (digest,)).fetchone()
    if found is None:
        turn.sql.execute(_SQL.add, (digest, 0, 0, body) if seq is None else (digest, seq, None, body))
        return
    witness, missing = found
    if seq is not None and seq < witness:
        turn.sql.execute(_SQL.witnessed, (seq, digest))
    if missing and body is not None:
        turn.sql.execute(_SQL.bring, (body, digest))


def lose(turn: Turn, digest: bytes, seq: int) -> None:
    """Note that a job which referred to it was deleted."""
    turn.sql.execute(_SQL.lose_witness, (digest, seq))


def sweep(turn: Turn, limit: int) -> None:
    """Search one stretch further; delete at most `limit` codes that nobody needs.

    A large one's file is left to the sweep of old files: who pushes the same code right now may have renewed it.
    """
    sql = turn.sql
    (start,) = sql.execute(_SQL.reached).fetchone()
    if start is None:
        sql.execute(_SQL.begin)
        (start,) = sql.execute(_SQL.reached).fetchone()
    if start is None:
        return
    last, jobs = sql.execute(_SQL.stretch, (start, STRETCH)).fetchone()
    if jobs:
        sql.executemany(_SQL.witnessed, sql.execute(_SQL.witnesses, (start, last)).fetchall())
        sql.execute(_SQL.go_on, (last + 1, last + 1))
    if jobs < STRETCH:
        sql.executemany(_SQL.forget, sql.execute(_SQL.unwanted, (limit,)).fetchall())
