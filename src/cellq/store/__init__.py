"""Where jobs live: `open_store` gives the store behind a URL."""

from __future__ import annotations

from cellq.errors import StoreUnavailable
from cellq.settings import sqlite_path
from cellq.store.contract import Store
from cellq.store.memory import MemoryStore
from cellq.store.sqlite import SQLiteStore

__all__ = ["open_store"]


def open_store(url: str, *, durability: str = "normal") -> Store:
    """The store behind a full URL (see `settings.store_url`), not opened yet.

    Args:
        url: "sqlite:///…" or "memory://NAME" (the same name is the same store, within one process).
        durability: "normal" or "full"; counts for SQLite, see `SQLiteStore`.

    Raises:
        ValueError: the URL or the durability is none.
        StoreUnavailable: this kind of store does not exist yet.
    """
    scheme, _, name = url.partition("://")
    if scheme == "sqlite":
        return SQLiteStore(sqlite_path(url), durability=durability)
    if scheme == "memory":
        return MemoryStore.named(name)
    if scheme in ("redis", "rediss", "unix"):
        raise StoreUnavailable(f"{url}: the Redis store is not implemented yet; use a SQLite database (sqlite:///…)")
    raise ValueError(f"{url!r}: known stores are sqlite:/// and memory://")
