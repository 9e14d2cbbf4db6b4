"""The Python code on a page of the documentation, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

_DOCS = Path(__file__).parents[1] / "docs"


def read_page(name: str) -> str:
    """A page's text."""
    return (_DOCS / name).read_text()


def blocks(text: str) -> list[str]:
    """The blocks of Python on a page, in its order."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def named_blocks(text: str) -> list[tuple[str, str]]:
    """Those that begin with a comment of one word, a module's file as a rule: that word, and what comes after it."""
    return re.findall(r"```python\n# ([\w-]+(?:\.py)?)\n(.*?)```", text, re.DOTALL)


def names_of_cellq(text: str) -> set[str]:
    """What the text of a page calls by its name in the package."""
    return set(re.findall(r"`cellq\.(\w+)", text)) - {"testing"}
