"""Errors as a cell shows them: short where the fault is the cell's, and a job's own traceback where it is the job's.

The exception that is raised stays the one to catch; only what IPython prints of it is set here, by the method that
IPython asks an exception for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from cellq.client.sync import Job
from cellq.errors import JobTimeout

E = TypeVar("E", bound=BaseException)

_RED, _PLAIN = "\x1b[31m", "\x1b[39m"


def shown_as(error: E, lines: Sequence[str]) -> E:
    """The same exception; a notebook shows these lines instead of the way through cellq's own code."""
    error._render_traceback_ = partial(list, lines)  # type: ignore[attr-defined]  # travels with the error
    return error


def plainly(error: E) -> E:
    """The same exception, shown as its type and message."""
    return shown_as(error, headline(error))


def headline(error: BaseException) -> list[str]:
    """Type and message, as IPython ends a traceback."""
    return f"{_RED}{type(error).__name__}{_PLAIN}: {error}".splitlines()


class CellSyntaxError(SyntaxError):
    """A cell that cannot run. IPython prints any other SyntaxError that a magic raises with the magic's own code."""


class CellIndentationError(CellSyntaxError, IndentationError):
    """The same, where the lines do not line up."""


class CellTabError(CellIndentationError, TabError):
    """The same, where tabs and spaces are mixed."""


# What people read.
CellSyntaxError.__name__, CellIndentationError.__name__ = "SyntaxError", "IndentationError"
CellTabError.__name__ = "TabError"


def in_cell(error: SyntaxError, above: int, count: int) -> CellSyntaxError:
    """A syntax error, with the place in the notebook cell that it is about.

    Args:
        above: lines above the code in its notebook cell.
        count: the cell's number.
    """
    line, offset = (error.lineno or 1) + above, error.offset or 1
    place = f"Cell In[{count}]"
    lines = [f"  {place}, line {line}"]
    if error.text:
        code = error.text.rstrip()
        indent = len(code) - len(code.lstrip())
        lines += [f"    {code.lstrip()}", " " * (4 + max(0, offset - 1 - indent)) + "^"]
    lines.append(f"{_RED}{type(error).__name__}{_PLAIN}: {error.msg}")
    kinds: dict[type, type[CellSyntaxError]] = {IndentationError: CellIndentationError, TabError: CellTabError}
    kind = kinds.get(type(error), CellSyntaxError)
    return shown_as(kind(error.msg, (place, line, offset, error.text)), lines)


class Told(BaseException):
    """An error that the job has printed itself: IPython prints groups of exceptions as text, where the cell runs."""


def _told(group: BaseExceptionGroup[Any]) -> BaseException:
    """The same group, not printed again."""
    kind: Any = type(type(group).__name__, (Told, type(group)), {})
    new = BaseExceptionGroup.__new__(kind, group.message, group.exceptions)
    assert isinstance(new, BaseException)
    return new


def show_syntax_errors(shell: Any) -> None:
    """Have IPython print a `CellSyntaxError` in short, unless somebody else prints exceptions there already."""

    def show(shell: Any, etype: type, value: Any, tb: object, tb_offset: object = None) -> list[str]:
        if isinstance(value, Told):
            return []
        lines: list[str] = value._render_traceback_()
        shell._showtraceback(etype, value, lines)
        return lines

    if not shell.custom_exceptions:
        shell.set_custom_exc((CellSyntaxError, Told), show)


def raise_again(job: Job[Any], shown: Mapping[str, Any] | None) -> NoReturn:
    """Raise a job's failure as if the waiting cell had raised it.

    Args:
        shown: the error as the job showed it, with its traceback; None when it showed none.

    Raises:
        the job's own exception where it could be rebuilt, else JobFailed and its kin.
    """
    failure = job.exception()
    assert failure is not None
    if shown is None and isinstance(failure.__cause__, BaseExceptionGroup):
        raise _told(failure.__cause__)
    if shown is None:
        raise plainly(failure)  # lost, cancelled, refused: nothing in the cell's code is at fault
    if isinstance(failure, JobTimeout):
        raise shown_as(failure, [*shown["traceback"][:-1], *headline(failure)])  # where it was when it was stopped
    raise shown_as(failure.__cause__ or failure, shown["traceback"])
