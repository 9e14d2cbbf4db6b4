"""The Lua beside the code: `lua/<verb>.lua`, one script per verb.

A line `-- include: call.lua` stands for that file's text. The server knows a script by the SHA-1 of its text.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_INCLUDE = re.compile(r"^-- include: (\S+)$", re.MULTILINE)


class Script(NamedTuple):
    """A script and what the server calls it."""

    verb: str
    text: bytes
    digest: str


@cache
def script(verb: str) -> Script:
    """The script of this verb."""
    text = _INCLUDE.sub(lambda found: _text(found[1]), _text(f"{verb}.lua")).encode()
    return Script(verb, text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


def _text(name: str) -> str:
    return (files("cellq.store.redis") / "lua" / name).read_text(encoding="utf-8")
