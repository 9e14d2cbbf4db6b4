"""A name whose value stayed in the process of a session: a stub holds its place in the notebook.

    %%enqueue --session lab          notebook                    %%enqueue --session lab
    rows = read(connection)          rows is a stub: a           next(rows)
    (a generator: cannot travel) ──▶ placeholder with a name ──▶ (the generator itself, in the same process)

A stub is never sent: a cell of its own session finds the value under that name, any other cell is refused with what
to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from cellq.errors import NotPicklable


class Stub:
    """Stands for a value that lives in a session.

    Args:
        name: what it is called there.
        session: the session's name.
    """

    __slots__ = ("__weakref__", "name", "session")

    def __init__(self, name: str, session: str) -> None:
        self.name = name
        self.session = session

    def __repr__(self) -> str:
        return f"<{self.name} stays in session {self.session!r}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{self.name} stays in session {self.session!r}")


def stubs(namespace: Mapping[str, object], session: str) -> tuple[str, ...]:
    """The names in a notebook that stand for values of this session."""
    return tuple(
        name
        for name, value in namespace.items()
        if isinstance(value, Stub) and (value.name, value.session) == (name, session)
    )


def refuse(values: Mapping[str, object]) -> None:
    """Refuse to send stubs.

    Raises:
        NotPicklable: one of these values is a stub; says what to do.
    """
    for name, value in values.items():
        if isinstance(value, Stub):
            raise NotPicklable(
                f"Cannot send `{name}`: it stays in session {value.session!r}. "
                f"Give the cell --session {value.session} too, or make {name} anew here"
            )
