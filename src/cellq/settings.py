"""Where things are: an argument first, then the environment, then a default.

| setting | environment | default |
|---|---|---|
| the store | `CELLQ_URL` | `./.cellq/jobs.db` (SQLite) |
| the part of a Redis server that is ours | `CELLQ_NAMESPACE` | `cellq` |
| the secret | `CELLQ_SECRET` | a file made once per user, mode 0600 |
| the user data directory | `CELLQ_HOME` | what the platform uses for such things |
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import platformdirs

from cellq.errors import CellqError

RUNTIME = f"{sys.version_info.major}.{sys.version_info.minor}"
"""This interpreter's minor version: code pickled by one minor version is only loaded by the same one."""

in_slot = False
"""True in the processes that jobs run in. Set by the zygote, which they are forked from."""

_MIN_SECRET = 16
_SERVERS = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


def home() -> Path:
    """The directory for what belongs to this user: the secret, the logs of launched workers."""
    given = os.environ.get("CELLQ_HOME")
    return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("cellq", appauthor=False))


HIDDEN = "***"
"""What stands for a password in the URLs that people see."""


def store_url(url: str | os.PathLike[str] | None = None) -> str:
    """The full URL of a store: paths are made absolute, so that it means the same in another directory.

    Args:
        url: "sqlite:///path", "redis://…", "memory://…", a bare path to a database file, or None for the default.

    Raises:
        TypeError, ValueError: it is no such thing.
    """
    if url is None:
        url = os.environ.get("CELLQ_URL") or Path(".cellq") / "jobs.db"
    if not isinstance(url, str | os.PathLike):
        raise TypeError(f"a store's URL must be text or a path, not {url!r}")
    text = os.fspath(url)
    scheme, found, rest = text.partition("://")
    if not found:
        if not text:
            raise ValueError("a store's URL must not be empty; leave it out for ./.cellq/jobs.db")
        if text.lower().startswith(tuple(f"{known}:" for known in ("sqlite", "memory", *_SERVERS))):
            raise ValueError(
                f"{text.partition(':')[0]}: is followed by two slashes at least, as in redis://host:6379/0"
            )
        return _sqlite_url(Path(text))
    if scheme == "sqlite":
        # As SQLAlchemy has it: three slashes and a relative path, four and an absolute one.
        if not rest.startswith("/") or len(rest) < 2:
            raise ValueError(f"{text!r}: write sqlite:///relative.db or sqlite:////absolute/path.db")
        return _sqlite_url(Path(rest[1:]))
    if scheme == "memory" or scheme.lower() in _SERVERS:
        return text
    raise ValueError(f"{scheme + '://'!r}: known stores are sqlite:///, memory:// and {'://, '.join(_SERVERS)}://")


def _sqlite_url(path: Path) -> str:
    return "sqlite:///" + path.expanduser().absolute().as_posix()


def sqlite_path(url: str) -> Path:
    """The database file behind a full `sqlite:///` URL."""
    return Path(url.removeprefix("sqlite:///"))


def secret() -> bytes:
    """The key that signs and verifies every payload; made on first use.

    Raises:
        CellqError: `CELLQ_SECRET` is too short, or the file cannot be made, or others can read it.
    """
    given = os.environ.get("CELLQ_SECRET")
    if given is not None:
        if len(given) < _MIN_SECRET:
            raise CellqError(
                f"CELLQ_SECRET has {len(given)} characters; {_MIN_SECRET} or more are needed. "
                f"Make one with: python -c 'import secrets; print(secrets.token_hex(32))'"
            )
        return given.encode()
    path = home() / "secret"
    try:
        return _read_secret(path)
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Written under another name and linked into place: two processes that start at once agree on one secret, and
    # nobody ever reads half of it.
    draft = path.with_name(f"secret.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not path.exists():
                draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return _read_secret(path)


def _read_secret(path: Path) -> bytes:
    text = path.read_text().strip()
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise CellqError(f"{path} can be read by others, so it is no secret any more. Run: chmod 600 {path}")
    if len(text) < _MIN_SECRET:
        raise CellqError(f"{path} is damaged. Delete it (jobs enqueued before become untrusted) and try again.")
    return text.encode()
