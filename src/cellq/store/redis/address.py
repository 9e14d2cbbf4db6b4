"""What a `redis://` URL says: which servers, how to speak to them, and what part of them is ours.

| URL | where |
|---|---|
| `redis://[user:password@]host[:6379][/db]` | one server; `rediss://` with TLS |
| `unix:///path/to/socket[?db=1]` | one server on this machine |
| `redis+sentinel://[user:password@]host[:26379][,host2…]/service[/db]` | the master that Sentinels name |
| `redis+cluster://[user:password@]host[:6379][,host2…]` | a Cluster, found through any of its nodes |

`rediss+sentinel://` and `rediss+cluster://` speak TLS. Options behind the `?`: `namespace`, `keep` and `patience` are
ours (see `Address`), `sentinel_username` and `sentinel_password` go to the Sentinels, the rest to redis-py.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from cellq.settings import HIDDEN

KEEP = 7 * 24 * 3600.0
"""Seconds that ended jobs are kept unless the URL says otherwise."""

PATIENCE = 15.0
"""Seconds that a call tries to reach the server before it gives up."""

_SCHEME = re.compile(r"(rediss?)(?:\+(sentinel|cluster))?|unix")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


class Kind(Enum):
    """How the server to speak to is found."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, kw_only=True)
class Address:
    """A URL, taken apart.

    Attributes:
        shown: the URL without its password, for people.
        hosts: servers, Sentinels or nodes; empty for a Unix socket.
        service: what Sentinels call the master.
        plain: a URL that redis-py understands, with the credentials and its options; the host counts for SERVER only.
        sentinel: credentials for the Sentinels.
        namespace: what our keys begin with.
        keep: seconds that ended jobs are kept, None for ever.
        patience: seconds that a call tries to reach the server.
    """

    kind: Kind
    shown: str
    hosts: tuple[tuple[str, int], ...]
    service: str
    plain: str = field(repr=False)
    sentinel: dict[str, Any] = field(repr=False)
    namespace: str
    keep: float | None
    patience: float

    @property
    def tag(self) -> bytes:
        """What all keys begin with. What is in the braces alone decides where in a Cluster they lie."""
        return b"{%s}" % self.namespace.encode()


def parse(url: str) -> Address:
    """What this URL says; what it leaves out comes from `CELLQ_NAMESPACE` and the defaults.

    Raises:
        ValueError: it is no such URL; the message does not repeat its password.
    """
    shown = without_password(url)
    scheme, _, rest = url.partition("://")
    credentials, at, place, query = _parts(rest)
    found = _SCHEME.fullmatch(scheme.lower())
    if found is None or not rest:
        raise ValueError(f"{shown!r} is no URL of a Redis server; it looks like redis://host:6379/0")
    options = dict(parse_qsl(query, keep_blank_values=True))
    namespace = options.pop("namespace", None) or os.environ.get("CELLQ_NAMESPACE") or "cellq"
    if not re.fullmatch(r"[^\s{}]+", namespace):
        raise ValueError(f"a namespace must be text without spaces and braces, not {namespace!r}")
    keep = _seconds("keep", options.pop("keep", f"{KEEP:g}"))
    patience = _seconds("patience", options.pop("patience", f"{PATIENCE:g}"))
    sentinel = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    kind = Kind(found[2] or "server")
    transport = found[1] or "unix"
    # Characters that mean something in a URL may be in a password that nobody has encoded.
    credentials = ":".join(quote(unquote(word), safe="") for word in credentials.split(":", 1))
    hosts, _, path = place.partition("/")
    service = ""
    if kind is Kind.SENTINEL:
        service, _, path = path.partition("/")
        if not service:
            raise ValueError(f"{shown!r}: name the service that the Sentinels watch: redis+sentinel://host/SERVICE")
    elif kind is Kind.CLUSTER and path.strip("/") not in ("", "0"):
        raise ValueError(f"{shown!r}: a Cluster has database 0 only")
    tail = f"?{urlencode(options)}" if options else ""
    pairs: tuple[tuple[str, int], ...] = ()
    if transport == "unix":
        plain = f"unix://{credentials}{at}{place}{tail}"
    else:
        port = 26379 if kind is Kind.SENTINEL else 6379
        pairs = tuple(_host(one, port, shown) for one in hosts.split(",") if one) or (("localhost", port),)
        host, port = pairs[0]
        plain = f"{transport}://{credentials}{at}{f'[{host}]' if ':' in host else host}:{port}/{path}{tail}"
        if kind is Kind.SERVER and path and not path.isdigit():
            raise ValueError(f"{shown!r}: the database must be a number, as in redis://host:6379/0")
        if kind is Kind.SERVER and len(pairs) > 1:
            raise ValueError(f"{shown!r}: several hosts are for redis+cluster:// and redis+sentinel://")
    return Address(
        kind=kind,
        shown=shown,
        hosts=pairs,
        service=unquote(service),
        plain=plain,
        sentinel={name: value for name, value in sentinel.items() if value},
        namespace=namespace,
        keep=keep if keep > 0 else None,
        patience=patience,
    )


def without_password(url: str) -> str:
    """The same URL for people: passwords are `HIDDEN`."""
    scheme, found, rest = url.partition("://")
    credentials, at, place, query = _parts(rest)
    user, colon, _ = credentials.partition(":")
    options = [
        (name, HIDDEN if "password" in name.lower() else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    asked = "?" + "&".join(f"{quote(name)}={quote(value, safe='*/:')}" for name, value in options) if query else ""
    return f"{scheme}{found}{user}{colon}{HIDDEN if colon else ''}{at}{place}{asked}"


def _parts(rest: str) -> tuple[str, str, str, str]:
    """What follows the scheme: credentials, "@" where there are some, the place, and the query."""
    before, _, query = rest.partition("?")
    credentials, at, place = before.rpartition("@")
    if "@" in query and "=" not in query[: query.rindex("@")]:  # the question mark is part of a password
        credentials, at, rest = rest.rpartition("@")
        place, _, query = rest.partition("?")
    return credentials, at, place, query


def _host(text: str, port: int, shown: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+)(?::(\d+))?", text)
    if found is None or not 0 < int(found[2] or port) < 65536:
        raise ValueError(f"{shown!r}: {text!r} is no host and port")
    return unquote(found[1].strip("[]")), int(found[2] or port)


def _seconds(name: str, text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d*)?(?:e\+?\d+)?)([smhdw]?)", text)
    if found is None:
        raise ValueError(f"{name} must be seconds, or a number with s, m, h, d or w (7d), not {text!r}")
    return float(found[1]) * _UNITS[found[2] or "s"]
