"""What `cellq doctor` says: a finding, and whether it is one to worry about."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"  # worth knowing, nothing has to be done
    WRONG = "wrong"


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        subject: what was looked at, in a word or two.
        verdict: how bad it is.
        text: what was found.
        advice: what to do about it; empty when nothing has to be done, or when the text says it.
    """

    subject: str
    verdict: Verdict
    text: str
    advice: str = ""


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(subject, Verdict.OK, text)


def note(subject: str, text: str, advice: str = "") -> Finding:
    """Worth knowing."""
    return Finding(subject, Verdict.NOTE, text, advice)


def wrong(subject: str, text: str, advice: str = "") -> Finding:
    """To be put right."""
    return Finding(subject, Verdict.WRONG, text, advice)
