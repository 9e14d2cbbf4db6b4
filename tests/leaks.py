"""What a store on Redis has left behind: keys without a time to live that nobody owns."""

from __future__ import annotations

import re
import struct
from typing import Any

import redis

SINGLE = {"workers", "silence", "ahead", "queues", "keys", "numbers", "idle", "rings", "armed"}


def leaks(client: redis.Redis, namespace: str) -> list[str]:
    """The keys of this namespace that would stay for ever though no job, worker or queue needs them.

    A live job owns its hash, its log, its values in pieces and its edges to other jobs; an ended one has a time to
    live, and so has whatever is its own. A code is owned by live jobs. Sets vanish with their last member.
    """
    names = [key.decode() for key in client.scan_iter(match=f"{{{namespace}}}:*", count=10_000)]
    keys = {name.removeprefix(f"{{{namespace}}}:"): name for name in names}
    queues = {name.decode() for name in client.hkeys(f"{{{namespace}}}:queues")}
    ttls = dict(zip(keys, _all(client, [("TTL", name) for name in names]), strict=True))
    live: set[str] = set()
    listed: set[str] = set()
    for key, name in keys.items():
        if key.startswith("jobs:"):
            ids = {member.decode() for member in client.zrange(name, 0, -1)}
            listed |= ids
            if key.split(":")[1] in ("pending", "running"):
                live |= ids
    blobs = set()
    for found in _all(client, [("HGET", f"{{{namespace}}}:job:{job_id}", "b") for job_id in live]):
        blobs |= set(re.findall(r":(\S+) ", (found or b"").decode()))
    for key, name in keys.items():
        if key.startswith("code:") and int(client.hget(name, "live") or 0) > 0:
            body = client.hget(name, "b") or b""
            if body.startswith(b"@"):
                blobs.add(body[1:].split()[0].decode())

    def owned(key: str, name: str) -> bool:
        kind, _, rest = key.partition(":")
        if key in SINGLE or kind == "ended":
            return True
        if kind == "jobs":
            return rest.partition(":")[2] in queues
        if kind in ("ready", "delayed", "limited", "expiring"):
            members = [member.decode() for member in client.zrange(name, 0, -1)]
            return {member[14:46] for member in members} <= live
        if kind == "turns":  # a field for each set of those that the key limits
            sets = {f"limited:{len(limit)}:{limit}:{line}" for limit, line in _turns(client, name, rest)}
            return sets <= keys.keys()
        if kind == "running":
            return all(int(count) > 0 for count in client.hvals(name))
        if kind in ("job", "log", "parents", "children"):
            return rest in live
        if kind == "blob":
            return rest in blobs
        if kind == "code":
            return int(client.hget(name, "live") or 0) > 0
        return False

    left = [key for key, name in keys.items() if ttls[key] == -1 and not owned(key, name)]
    for key, name in keys.items():
        if key.startswith("job:") and key[4:] not in listed:
            left.append(f"{key} is on no list")
        if key.startswith("job:") and key[4:] in live and ttls[key] != -1:
            left.append(f"{key} is live and would go")
        if key.startswith("workers"):
            for record in client.hvals(name):
                struct.unpack_from("<dddQ", record)
    return left


def _turns(client: redis.Redis, name: str, key: str) -> list[tuple[str, str]]:
    """The limit and the line that each field stands for."""
    fields = [field.decode().split(":", 1) for field in client.hkeys(name)]
    return [(f"{most}:{key}", line) for most, line in fields]


def _all(client: redis.Redis, commands: list[tuple[str, ...]]) -> list[Any]:
    """The answers to many commands."""
    with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return list(pipeline.execute())
