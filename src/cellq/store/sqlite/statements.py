"""The SQL beside the code: `sql/<verb>.sql`, each statement under a line `-- name: …`.

Numbered files (`001_schema.sql`, …) are migrations; a database's version is the number of the last one it has seen.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import SimpleNamespace

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"--.*$", re.MULTILINE)


@cache
def statements(verb: str) -> SimpleNamespace:
    """The statements of `sql/<verb>.sql` as attributes."""
    _, *parts = _NAME.split(_text(f"{verb}.sql"))
    return SimpleNamespace(**{name: " ".join(sql.split()) for name, sql in zip(parts[::2], parts[1::2], strict=True)})


@cache
def migrations() -> tuple[tuple[str, ...], ...]:
    """The statements of each migration, in order; the first one leads from version 0 to 1."""
    names = sorted(file.name for file in (files("cellq.store.sqlite") / "sql").iterdir() if file.name[:3].isdigit())
    return tuple(
        tuple(sql for part in _COMMENT.sub("", _text(name)).split(";") if (sql := part.strip())) for name in names
    )


def _text(name: str) -> str:
    return (files("cellq.store.sqlite") / "sql" / name).read_text(encoding="utf-8")
