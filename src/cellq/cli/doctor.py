"""What is wrong, and what to do about it: `cellq doctor`. Looks only; makes and changes nothing.

What it looks at: this Python and its packages and the secret (here), the store (`checkup`).
"""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import click

from cellq import settings
from cellq.cli.checkup import of_store
from cellq.cli.findings import Finding, Verdict, note, ok, wrong
from cellq.cli.place import url_option
from cellq.cli.screen import number, print_json, visible
from cellq.errors import CellqError
from cellq.store import shown_url

_MARKS = {Verdict.OK: ("✓", "green"), Verdict.NOTE: ("!", "yellow"), Verdict.WRONG: ("✗", "red")}
_WIDTH = 13

_FOR_NOTEBOOKS = ("ipython", "ipykernel", "ipywidgets", "anywidget")
_BROKEN_KERNELS = ("7.0.0", "7.0.1")
_BACKPORTS: dict[tuple[int, ...], tuple[int, ...]] = {(3, 44): (3, 44, 6), (3, 50): (3, 50, 7)}


@click.command()
@url_option(existing=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(url: str, as_json: bool) -> None:
    """Look for what is wrong, and say what to do about it.

    The exit code is 1 when something is wrong. With --json, an object with the keys ok (true or false), url and
    findings: an array of objects with the keys subject, verdict (ok, note or wrong), text and advice.
    """
    findings: list[Finding] = []
    for finding in _look(url):
        findings.append(finding)
        if not as_json:
            _print(finding)
    bad = sum(finding.verdict is Verdict.WRONG for finding in findings)
    if as_json:
        print_json({"ok": not bad, "url": shown_url(url), "findings": [finding._asdict() for finding in findings]})
    else:
        click.echo()
        click.echo(f"{number(bad, 'thing')} to put right" if bad else "nothing is wrong")
    if bad:
        sys.exit(1)


def _print(finding: Finding) -> None:
    mark, colour = _MARKS[finding.verdict]
    click.echo(f"{click.style(mark, fg=colour)} {finding.subject:<{_WIDTH}} {visible(finding.text)}")
    if finding.advice:
        click.echo(f"  {'':<{_WIDTH}} → {visible(finding.advice)}")


def _look(url: str) -> Iterator[Finding]:
    yield ok("python", f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})")
    yield ok("cellq", version("cellq"))
    yield of_sqlite(sqlite3.sqlite_version_info)
    yield ok("cloudpickle", version("cloudpickle"))
    yield from of_notebook_packages()
    yield of_secret()
    yield from of_store(url)


def of_sqlite(library: tuple[int, ...]) -> Finding:
    """The SQLite library: is it one with the WAL-reset bug?

    That bug (3.7.0 to 3.51.2, but not 3.44.6 and 3.50.7; https://sqlite.org/wal.html) can damage a database when one
    connection moves the log into the database while another one commits. All writes of cellq, and what they move, take
    turns under a lock on a file, so cellq alone cannot bring that about; where there are no such locks (Windows), and
    with other programs that write into the database, it is not ruled out.
    """
    found = ".".join(map(str, library))
    repaired = library >= _BACKPORTS.get(library[:2], (3, 51, 3))
    if repaired or library < (3, 7, 0):
        return ok("sqlite", found)
    text = f"{found}, one of those with the rare WAL-reset bug (3.7.0 to 3.51.2), which can damage a database. "
    if sys.platform == "win32":
        return note(
            "sqlite",
            text + "cellq's writers take turns, but on Windows without a lock: the bug is very unlikely, not ruled out",
            "use a Python that brings SQLite 3.51.3 or newer",
        )
    return note(
        "sqlite",
        text + "cellq's own writers take turns under a lock and do not run into it",
        "do not write into the store, or checkpoint it, with other programs; SQLite 3.51.3 is free of the bug",
    )


def of_notebook_packages() -> Iterator[Finding]:
    """What notebooks need: is it there, and is it known to work?"""
    missing = []
    for package in _FOR_NOTEBOOKS:
        found = _version(package)
        if found is None:
            missing.append(package)
        elif package == "ipykernel" and found in _BROKEN_KERNELS:
            yield wrong(
                package,
                f"{found} raises an error when a button in a job's card is clicked",
                "pip install -U ipykernel, then restart the notebook",
            )
        else:
            yield ok(package, found)
    if missing:
        yield note(
            "notebook", f"{', '.join(missing)} not installed: needed in notebooks only", "pip install 'cellq[notebook]'"
        )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def of_secret() -> Finding:
    """The secret: where it is from, and whether it is one."""
    path = settings.home() / "secret"
    given = "CELLQ_SECRET" in os.environ
    if not given and not path.exists():
        return ok("secret", f"not made yet; the first job makes it, in {path}")
    try:
        settings.secret()
    except CellqError as error:
        return wrong("secret", "it cannot be used", str(error))
    except OSError as error:
        return wrong("secret", f"{path} cannot be read: {error.strerror}", f"make it yours: chown $USER {path}")
    if given:
        return ok("secret", "from CELLQ_SECRET; every worker and every notebook needs the same one")
    return ok("secret", f"{path}, for you only")
