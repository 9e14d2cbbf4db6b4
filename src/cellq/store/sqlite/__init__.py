"""Jobs in a SQLite database: `store` has the verbs, each of which is a function run in a `turn` (a transaction)."""

from cellq.store.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
