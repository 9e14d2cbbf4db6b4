"""Where jobs live: `open_store` gives the store behind a URL."""

from __future__ import annotations

from cellq.settings import sqlite_path
from cellq.store.contract import Store
from cellq.store.memory import MemoryStore
from cellq.store.redis import RedisStore
from cellq.store.redis.address import without_password
from cellq.store.sqlite import SQLiteStore

__all__ = ["open_store", "shown_url"]


def shown_url(url: str) -> str:
    """A full URL for people: without its password, where it has one."""
    return url if url.startswith(("sqlite:", "memory:")) else without_password(url)


def open_store(url: str, *, durability: str = "normal") -> Store:
    """The store behind a full URL (see `settings.store_url`), not opened yet.

    Args:
        url: "sqlite:///…", "redis://…" and its like (see `store.redis.address`), or "memory://NAME" (the same name is
            the same store, within one process).
        durability: "normal" or "full"; counts for SQLite, see `SQLiteStore`.

    Raises:
        ValueError: the URL or the durability is none.
    """
    scheme, _, name = url.partition("://")
    if scheme == "sqlite":
        return SQLiteStore(sqlite_path(url), durability=durability)
    if scheme == "memory":
        return MemoryStore.named(name)
    if scheme.lower().partition("+")[0] in ("redis", "rediss", "unix"):
        return RedisStore(url)
    raise ValueError(f"{scheme + '://'!r}: known stores are sqlite:///, redis://, rediss://, unix:// and memory://")
