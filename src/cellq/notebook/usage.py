"""The words behind a magic: taken apart, and if they are wrong, said how the magic is used."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import parse_argstring


def parsed(magic: Any, line: str) -> Namespace:
    """The arguments of a magic.

    Raises:
        UsageError: they are wrong.
    """
    try:
        args: Namespace = parse_argstring(magic, line)
    except UsageError as error:
        raise wrong_usage(magic, str(error)) from None
    return args


def wrong_usage(magic: Any, said: str) -> UsageError:
    """What is wrong, and how the magic is used."""
    sign = "%%" if magic.__name__ == "enqueue" else "%"
    words = " ".join(magic.parser.format_usage().partition("%")[2].split())
    return UsageError(f"{said}\nusage: {sign}{words}")
