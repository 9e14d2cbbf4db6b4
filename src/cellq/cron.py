"""When a cron expression is due: five fields, in a time zone with its daylight saving.

    ┌ minute 0-59 ┌ hour 0-23 ┌ day 1-31 ┌ month 1-12, JAN-DEC ┌ weekday 0-7, SUN-SAT (0 and 7 are Sunday)
    */15          9-17        *          *                     MON-FRI

Which library: `cronsim`, because around daylight saving it does what the cron of Debian does. An expression with a
fixed hour runs once on each day: `30 2 * * *` at 3:00 where 2:30 is skipped, and only the first time where there are
two (`croniter` runs it twice). One whose minute or hour begins with a star goes by the time that passes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import takewhile
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_HOUR, _DAY = 3600.0, 86400.0
_LOOKS_BACK = (_HOUR, _DAY, 32 * _DAY, 366 * _DAY, float("inf"))
"""Seconds. Of all instants in a long time the last one is looked for at the end first."""


def next_after(expression: str, zone: str, instant: float) -> float:
    """When the expression is due next, strictly after an instant; both in epoch seconds.

    Raises:
        TypeError, ValueError: it is no cron expression, or it is never due, or there is no such zone.
    """
    for found in _instants(expression, zone, instant):
        return found
    raise ValueError(f"{expression!r} is never due: there is no such date")


def latest(expression: str, zone: str, after: float, until: float) -> float | None:
    """When the expression was due last in a stretch of time, None when it was not; epoch seconds.

    Args:
        after: instants later than this.
        until: and not later than that.

    Raises:
        TypeError, ValueError: as `next_after`.
    """
    for span in _LOOKS_BACK:
        start = max(after, until - span)
        found = max(takewhile(lambda moment: moment <= until, _instants(expression, zone, start)), default=None)
        if found is not None or start == after:
            return found
    return None


def _instants(expression: str, zone: str, after: float) -> Iterator[float]:
    from cronsim import CronSim, CronSimError  # loaded by those who have schedules only

    if not isinstance(expression, str):
        raise TypeError(f"a cron expression is text such as '*/5 * * * *', not {expression!r}")
    fields = _NICKNAMES.get(expression.strip().lower(), expression).split()
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"{expression!r} is no cron expression: it has {len(fields)} fields, not five ({', '.join(_FIELDS)})"
        )
    try:
        instants = CronSim(" ".join(fields), datetime.fromtimestamp(after, _zone(zone)))
    except CronSimError as error:
        field = next((name for name in _FIELDS if str(error).endswith(name)), "")
        given = f" {fields[_FIELDS.index(field)]!r}" if field else ""
        if field == "day-of-month":
            given += f" (of month {fields[3]!r})"
        raise ValueError(f"{expression!r} is no cron expression: {str(error).lower()}{given}") from None
    for found in instants:
        moment = found.timestamp()
        if moment > after:  # of what falls into a skipped or a repeated hour some may be in the past, or be the same
            after = moment
            yield moment


def zone_name(zone: str | tzinfo | None) -> str:
    """The name of a time zone, by which it is known on other machines too.

    Args:
        zone: its name, or a `ZoneInfo`; this machine's zone when None.

    Raises:
        TypeError, ValueError: it has no name, or there is no such zone.
    """
    if zone is None:
        return _local()
    if zone is UTC:
        return "UTC"
    name = zone.key if isinstance(zone, ZoneInfo) else zone
    if not isinstance(name, str):
        raise TypeError(f"zone must be the name of a time zone, such as 'Europe/Berlin', not {zone!r}")
    _zone(name)
    return name


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone {name!r} here; zones have names such as 'Europe/Berlin' or 'UTC'. "
            f"If this is one, the machine has no list of them: pip install tzdata"
        ) from None


def _local() -> str:
    """The name of this machine's zone, where it can be learned."""
    given = os.environ.get("TZ")
    if given is not None:
        name = given.removeprefix(":")
    elif os.name != "posix":
        name = ""
    else:
        place = Path("/etc/localtime")
        if not place.exists():
            return "UTC"  # as the C library has it
        name = str(place.resolve())
        noted = Path("/etc/timezone")
        if "zoneinfo/" not in name:  # a copy, which does not tell what of
            name = noted.read_text().strip() if noted.exists() else ""
    name = name.rpartition("zoneinfo/")[2] if name or given is None else "UTC"
    try:
        return zone_name(name)
    except ValueError:
        raise ValueError(
            f"the time zone of this machine{f' ({name})' if name else ''} has no name that others know; "
            f"say which one is meant: zone='Europe/Berlin', or zone='UTC'"
        ) from None
