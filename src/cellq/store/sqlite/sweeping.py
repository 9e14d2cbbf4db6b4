"""Removing what is past its keep, and what nobody refers to any more; a bounded amount per call."""

from __future__ import annotations

from collections.abc import Sequence

from cellq.message import ENDED, Keep, State
from cellq.store.sqlite import codebook
from cellq.store.sqlite.asking import delete
from cellq.store.sqlite.leases import Processes
from cellq.store.sqlite.statements import statements
from cellq.store.sqlite.turn import CODES, Turn

_PRUNE = statements("prune")

_LONG_SILENT = 3600.0


def prune(turn: Turn, processes: Processes, keep: Keep, limit: int, old_files: Sequence[str]) -> int:
    """See `Store.prune`.

    Args:
        old_files: names of files in the spill folder that are old enough to be orphans.
    """
    sql = turn.sql
    past = []
    for state in ENDED.intersection(keep.states):
        seconds = getattr(keep, state.value)
        if seconds is not None:
            past += _past_keep(turn, state, turn.now - seconds, limit)
    past.sort()
    for _, seq, line, code, state_code in past[:limit]:
        delete(turn, seq, line, state_code, code)
    turn.drop_uses()
    codebook.sweep(turn, limit)
    sql.execute(_PRUNE.silent, (turn.now, _LONG_SILENT))
    for port, secret, pid in sql.execute(_PRUNE.bells, (processes.host,)).fetchall():
        if processes.gone(processes.host, pid, 0.0):
            sql.execute(_PRUNE.forget_bell, (port, secret))
    turn.discards += [f"0 {name}" for name in old_files if not _referred_to(turn, name)]
    return len(past[:limit])


def _past_keep(turn: Turn, state: State, before: float, limit: int) -> list[tuple[int, int, int, bytes, int]]:
    """The jobs of one state that ended first, up to the first one that is still to be kept."""
    past = []
    code_of_state = CODES[state]
    for ended, finished, seq, line, code in turn.sql.execute(_PRUNE.oldest, (code_of_state, limit)):
        if finished > before:
            break
        past.append((ended, seq, line, code, code_of_state))
    return past


def _referred_to(turn: Turn, name: str) -> bool:
    """Whether a row holds a reference to this file: its name says which row that would be."""
    owner, _, kind = name.partition(".")
    try:
        number = bytes.fromhex(owner)
    except ValueError:
        return False
    query = _PRUNE.code_file if kind == "code" else _PRUNE.job_files
    row = turn.sql.execute(query, (number,)).fetchone() or ()
    return any(isinstance(held, str) and held.partition(" ")[2] == name for held in row)
