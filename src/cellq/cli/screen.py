"""What reaches the screen: tables for people, JSON for programs, and text from jobs made harmless.

Whoever can enqueue a job chooses its name, and a name with escape sequences in it could rewrite the terminal of the one
who lists it. So names are shown with whatever is not printable spelled out. What a job prints is its output, and is
passed on as it is (`cellq logs`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

import click

STYLES = {
    "running": "blue",
    "stopping": "yellow",
    "completed": "green",
    "failed": "red",
    "cancelled": "dim",
    "paused": "yellow",
}


_NARROW = 12


def visible(text: str, keep: str = "") -> str:
    r"""The text with control, format and other unprintable characters spelled out (`\x1b`), except those of `keep`."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode() for sign in text
    )


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, elastic: Collection[str] = ()) -> None:
    """Print a table; without colours and as wide as it needs to be when it does not go to a terminal.

    Args:
        headings: of the columns.
        rows: the cells, as text. Unprintable characters in them are spelled out.
        elastic: headings of the columns that may be broken into lines on a narrow terminal; others never are.
    """
    lines = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    if not sys.stdout.isatty():
        for line in (headings, *lines):
            click.echo("  ".join(map(str.ljust, line, widths)).rstrip())
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading, width in zip(headings, widths, strict=True):
        if heading in elastic:
            table.add_column(heading, overflow="fold", min_width=min(width, _NARROW))
        else:
            table.add_column(heading, no_wrap=True, overflow="ignore", min_width=width)
    for line in lines:
        table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in line))
    Console(highlight=False).print(table)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))


def iso(moment: float | None) -> str | None:
    """A moment (epoch seconds) for programs: ISO 8601, UTC."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(moment: float) -> str:
    """A moment (epoch seconds) for people: local time, and how far away it is."""
    away = time.time() - moment
    told = f"{duration(away)} ago" if away >= 0 else f"in {duration(-away)}"
    return f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M:%S} ({told})"


def duration(seconds: float) -> str:
    """Seconds as people say them: "0.3 s", "42 s", "3 min 05 s", "2 h 10 min", "4 d 3 h"."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def size(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def number(count: int, noun: str) -> str:
    """ "1 job", "2 jobs"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
