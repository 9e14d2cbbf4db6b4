"""The Lua beside the code: `lua/<verb>.lua`, one script per verb.

A line `-- include: call.lua` stands for that file's text, less the functions that the script has no use for: the server
makes all functions of a script anew at each call. It knows a script by the SHA-1 of its text.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_INCLUDE = re.compile(r"^-- include: (\S+)$", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|(?<=\s))--.*\n", re.MULTILINE)
_FUNCTION = re.compile(r"^local function (\w+)\(.*?^end\n", re.MULTILINE | re.DOTALL)


class Script(NamedTuple):
    """A script and what the server calls it."""

    verb: str
    text: bytes
    digest: str


@cache
def script(verb: str) -> Script:
    """The script of this verb."""
    text = _needed(_INCLUDE.sub(lambda found: _text(found[1]), _text(f"{verb}.lua"))).encode()
    return Script(verb, text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


def _needed(text: str) -> str:
    """The text without comments, and without functions that nothing in it calls."""
    text = _COMMENT.sub("\n", text)
    while True:
        for function in _FUNCTION.finditer(text):
            rest = text[: function.start()] + text[function.end() :]
            if not re.search(rf"\b{function[1]}\b", rest):
                text = rest
                break
        else:
            return text


def _text(name: str) -> str:
    return (files("cellq.store.redis") / "lua" / name).read_text(encoding="utf-8")
