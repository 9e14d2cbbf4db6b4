"""Opening a database: is it ours, is it of our age, can it be shared; and bringing it up to date."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cellq.errors import StoreUnavailable
from cellq.store.sqlite.gate import Gate
from cellq.store.sqlite.statements import migrations

APPLICATION_ID = 0x63_65_6C_71  # "celq", in the file's header


def prepare(sql: sqlite3.Connection, gate: Gate, path: Path, durability: str) -> None:
    """Set the connection up and migrate the schema.

    Args:
        durability: "normal" or "full".

    Raises:
        StoreUnavailable: a foreign or newer database, or a folder where processes cannot share one.
        sqlite3.Error: it cannot be read or written.
    """
    gate.enter()  # another process may be creating it right now
    try:
        _version(sql, path)  # before anything is changed in a file that is not ours
        (mode,) = sql.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreUnavailable(
                f"{path}: processes cannot share a database in this folder (it has no shared memory or locks; a "
                f"network folder?). Choose a local folder, cellq.Queue('sqlite:///…'), or a Redis server"
            )
        for pragma in (
            f"synchronous = {'FULL' if durability == 'full' else 'NORMAL'}",
            "secure_delete = OFF",  # Debian's default zeroes what is deleted: 285 ms for 50 MB
            "temp_store = MEMORY",
            "cache_size = -16384",
            "wal_autocheckpoint = 4000",  # 16 MB: a checkpoint syncs, and writes a page once however often it changed
            "journal_size_limit = 67108864",
        ):
            sql.execute(f"PRAGMA {pragma}")
        sql.execute("BEGIN IMMEDIATE")
        try:
            _migrate(sql, _version(sql, path))
            sql.execute("COMMIT")
        except BaseException:
            if sql.in_transaction:
                sql.execute("ROLLBACK")
            raise
    finally:
        gate.leave()


def _version(sql: sqlite3.Connection, path: Path) -> int:
    """How many migrations it has seen; 0 for an empty file."""
    (application_id,) = sql.execute("PRAGMA application_id").fetchone()
    (version,) = sql.execute("PRAGMA user_version").fetchone()
    (tables,) = sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not (application_id or version or tables):
        return 0
    if application_id != APPLICATION_ID:
        raise StoreUnavailable(f"{path}: it is a database of another program. Choose another path")
    known = len(migrations())
    if version > known:
        raise StoreUnavailable(
            f"{path}: it was written by a newer cellq (schema {version}, this one knows {known}). Upgrade cellq: "
            f"pip install -U cellq"
        )
    return int(version)


def _migrate(sql: sqlite3.Connection, version: int) -> None:
    todo = migrations()[version:]
    for migration in todo:
        for statement in migration:
            sql.execute(statement)
    if todo:
        sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        sql.execute(f"PRAGMA user_version = {len(migrations())}")
