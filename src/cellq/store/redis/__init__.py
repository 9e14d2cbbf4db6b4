"""The store across machines: Redis, Valkey, Sentinel or Cluster."""

from __future__ import annotations

from cellq.store.redis.store import RedisStore

__all__ = ["RedisStore"]
