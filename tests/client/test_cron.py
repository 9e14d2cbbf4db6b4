"""When cron expressions are due: daylight saving both ways, rare and impossible dates, errors that name the field."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from cellq import cron


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def due(expression: str, zone: str, after: str, count: int) -> list[str]:
    """The next few times, as clocks in the zone show them."""
    instant, found = at(after, zone), []
    for _ in range(count):
        instant = cron.next_after(expression, zone, instant)
        found.append(f"{datetime.fromtimestamp(instant, ZoneInfo(zone)):%m-%d %H:%M%z}")
    return found


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("*/5 * * * *", "2026-11-22 10:01", ["11-22 10:05+0000", "11-22 10:10+0000"]),
        ("0 3 * * *", "2026-11-22 03:00", ["11-23 03:00+0000", "11-24 03:00+0000"]),
        ("30 2 * * MON-FRI", "2026-11-20 12:00", ["11-23 02:30+0000", "11-24 02:30+0000"]),
        ("0 0 1 JAN,JUL *", "2026-03-01 00:00", ["07-01 00:00+0000", "01-01 00:00+0000"]),
        ("0 12 13 * FRI", "2026-11-10 00:00", ["11-13 12:00+0000", "11-20 12:00+0000"]),
        ("0 0 * * 7", "2026-11-22 00:00", ["11-29 00:00+0000", "12-06 00:00+0000"]),
        ("@daily", "2026-11-22 00:00", ["11-23 00:00+0000", "11-24 00:00+0000"]),
    ],
)
def test_an_expression_is_due_when_cron_says(expression, after, expected) -> None:
    assert due(expression, "UTC", after, len(expected)) == expected


@pytest.mark.parametrize(
    ("zone", "spring", "autumn", "winter", "summer"),
    [
        ("Europe/Berlin", "03-29", "10-25", "+0100", "+0200"),
        ("America/New_York", "03-08", "11-01", "-0500", "-0400"),
    ],
)
class TestDaylightSaving:
    """Both skip the hour from 2:00. In Berlin the one from 2:00 comes twice, in New York the one from 1:00."""

    def test_a_fixed_time_that_is_skipped_is_due_when_clocks_go_on(self, zone, spring, autumn, winter, summer) -> None:
        first, second = due("30 2 * * *", zone, f"2026-{spring} 00:10", 2)
        assert first == f"{spring} 03:00{summer}"
        assert second.endswith(f"02:30{summer}")

    def test_a_fixed_time_that_comes_twice_is_due_the_first_time(self, zone, spring, autumn, winter, summer) -> None:
        hour = 2 if zone == "Europe/Berlin" else 1
        first, second = due(f"30 {hour} * * *", zone, f"2026-{autumn} 00:10", 2)
        assert first == f"{autumn} 0{hour}:30{summer}"
        assert second != f"{autumn} 0{hour}:30{winter}"

    def test_asked_between_the_two_it_is_not_due_in_the_past(self, zone, spring, autumn, winter, summer) -> None:
        hour = 2 if zone == "Europe/Berlin" else 1
        between = at(f"2026-{autumn} 0{hour}:10", zone, fold=1)
        assert cron.next_after(f"30 {hour} * * *", zone, between) > between + 12 * 3600

    def test_every_half_hour_goes_by_the_time_that_passes(self, zone, spring, autumn, winter, summer) -> None:
        for day in (spring, autumn):
            instant = at(f"2026-{day} 00:00", zone)
            found = []
            while len(found) < 12:
                instant = cron.next_after("*/30 * * * *", zone, instant)
                found.append(instant)
            assert {later - sooner for sooner, later in pairwise(found)} == {1800.0}

    def test_no_day_is_without_a_nightly_run_and_none_has_two(self, zone, spring, autumn, winter, summer) -> None:
        for minute in (0, 30):
            for hour in range(5):
                days = [moment[:5] for moment in due(f"{minute} {hour} * * *", zone, "2025-12-31 23:59", 365)]
                assert len(set(days)) == 365


def test_a_leap_day_is_waited_for() -> None:
    assert due("0 0 29 2 *", "UTC", "2026-01-01 00:00", 1) == ["02-29 00:00+0000"]
    assert datetime.fromtimestamp(cron.next_after("0 0 29 2 *", "UTC", at("2096-03-01 00:00")), UTC).year == 2104


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("61 * * * *", r"bad minute '61'"),
        ("* 24 * * *", r"bad hour '24'"),
        ("0 0 0 * *", r"bad day-of-month '0'"),
        ("0 0 30 2 *", r"bad day-of-month '30' \(of month '2'\)"),
        ("0 0 31 4,6 *", r"bad day-of-month '31' \(of month '4,6'\)"),
        ("0 0 * 13 *", r"bad month '13'"),
        ("0 0 * * FUN", r"bad day-of-week 'FUN'"),
        ("*/0 * * * *", r"bad minute '\*/0'"),
        ("* * * *", r"it has 4 fields, not five"),
        ("0 * * * * *", r"it has 6 fields, not five"),
        ("", r"it has 0 fields"),
        ("@reboot", r"it has 1 fields"),
    ],
)
def test_what_is_no_expression_is_refused_by_the_field_that_is_wrong(expression, words) -> None:
    with pytest.raises(ValueError, match=words):
        cron.next_after(expression, "UTC", 0.0)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="cron expression is text"):
        cron.next_after(5, "UTC", 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expression", "after", "until", "expected"),
    [
        ("*/5 * * * *", "2026-01-01 00:00", "2026-01-01 00:12", "2026-01-01 00:10"),
        ("*/5 * * * *", "2026-01-01 00:10", "2026-01-01 00:12", None),
        ("*/5 * * * *", "2026-01-01 00:10", "2026-01-01 00:15", "2026-01-01 00:15"),
        ("* * * * *", "1996-01-01 00:00", "2026-01-01 00:12", "2026-01-01 00:12"),
        ("0 3 * * *", "2025-01-01 00:00", "2026-01-01 02:00", "2025-12-31 03:00"),
        ("0 0 1 * *", "2020-01-01 00:00", "2026-02-28 02:00", "2026-02-01 00:00"),
        ("0 0 29 2 *", "1970-01-02 00:00", "2026-01-01 00:00", "2024-02-29 00:00"),
        ("0 0 1 1 *", "2025-02-01 00:00", "2025-12-31 00:00", None),
    ],
)
def test_the_last_instant_of_a_stretch_is_found(expression, after, until, expected) -> None:
    assert cron.latest(expression, "UTC", at(after), at(until)) == (None if expected is None else at(expected))


def test_an_instant_is_strictly_after_and_in_whole_minutes() -> None:
    now = at("2026-01-01 00:00") + 0.25
    assert cron.next_after("* * * * *", "Asia/Kathmandu", now) == at("2026-01-01 00:01")


def test_a_zone_is_stored_by_its_name() -> None:
    assert cron.zone_name("Europe/Berlin") == "Europe/Berlin"
    assert cron.zone_name(ZoneInfo("Asia/Tokyo")) == "Asia/Tokyo"
    assert cron.zone_name(UTC) == "UTC"


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "", "../etc/passwd", "Europe", "CET-1CEST"])
def test_a_zone_that_is_none_is_refused_with_what_to_do(zone) -> None:
    with pytest.raises(ValueError, match="there is no time zone"):
        cron.zone_name(zone)


def test_an_offset_is_no_zone() -> None:
    with pytest.raises(TypeError, match="must be the name of a time zone"):
        cron.zone_name(timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [("Europe/Berlin", "Europe/Berlin"), (":Asia/Tokyo", "Asia/Tokyo"), ("", "UTC"),
     ("/usr/share/zoneinfo/America/New_York", "America/New_York")],
)  # fmt: skip
def test_the_machines_zone_is_the_one_of_tz(monkeypatch, given, expected) -> None:
    monkeypatch.setenv("TZ", given)
    assert cron.zone_name(None) == expected


def test_a_machine_whose_zone_has_no_name_is_told_what_to_say(monkeypatch) -> None:
    monkeypatch.setenv("TZ", "MEZ-1MESZ,M3.5.0,M10.5.0/3")
    with pytest.raises(ValueError, match="say which one is meant: zone='Europe/Berlin'"):
        cron.zone_name(None)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the zone has to be said")
def test_without_tz_the_zone_is_the_one_that_local_time_has(monkeypatch) -> None:
    monkeypatch.delenv("TZ", raising=False)
    time.tzset()
    zone = ZoneInfo(cron.zone_name(None))
    for month in (1, 7):
        moment = datetime(2026, month, 1, tzinfo=UTC)
        assert moment.astimezone(zone).utcoffset() == moment.astimezone().utcoffset()
