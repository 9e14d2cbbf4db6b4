"""What a job said, as the messages that show it: few, short, and in order.

A front end draws a cell's whole text again with each piece, so all that has gathered since the last look becomes as
few messages as possible: text of one stream is joined, parts of lines that a carriage return overwrites are dropped,
of several updates of one display the last is kept, and what a `clear_output` would wipe away is not shown at all.
Beyond a hundred kilobytes of text only the log keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cellq.message import Heard

TEXT_CAP = 100_000
"""Characters of printed text shown per attempt; the rest is in the log."""

Message = tuple[str, dict[str, Any]]
"""The kind of a Jupyter message and its content."""


class Transcript:
    """Turns the events of one job into messages.

    Args:
        rest: where the rest of a long text is, in a few words; shown where it is cut.
    """

    def __init__(self, rest: str) -> None:
        self._rest = rest
        self._attempt = 0
        self._left = TEXT_CAP
        self._cut = False

    def messages(self, events: Iterable[Heard]) -> list[Message]:
        """The messages that show these events, which come after those of the last call."""
        gathered: list[Message] = []
        for event in events:
            if event.attempt != self._attempt:
                if self._attempt:
                    gathered.append(("stream", {"name": "stderr", "text": "── started again ──\n"}))
                self._attempt = event.attempt
                self._refill()
            _gather(gathered, event.kind, event.content)
        shown: list[Message] = []
        for kind, content in gathered:
            if kind == "clear_output":
                self._refill()
            elif kind == "stream":
                content["text"] = self._capped(overwritten(content["text"]))
                if not content["text"]:
                    continue
            shown.append((kind, content))
        return shown

    def _refill(self) -> None:
        self._left, self._cut = TEXT_CAP, False

    def _capped(self, text: str) -> str:
        # A line that is written over and over takes the room of one line.
        cost = text.rfind("\n") + 1 if text.startswith("\r") else len(text)
        if cost <= self._left:
            self._left -= cost
            return text
        kept, self._left = text[: self._left], 0
        if not self._cut:
            self._cut = True
            kept += f"\n… {self._rest}\n"
        return kept


def _gather(messages: list[Message], kind: str, content: dict[str, Any]) -> None:
    """Add a message, or let it melt into the ones that are there."""
    if kind == "clear_output":
        messages[:] = [message for message in messages if message[0] == "error"]
    elif kind == "stream":
        last = messages[-1] if messages else ("", {})
        if last[0] == "stream" and last[1]["name"] == content["name"]:
            last[1]["text"] += content["text"]
            return
    elif kind == "update_display_data":
        name = content.get("transient", {}).get("display_id")
        for earlier_kind, earlier in messages:
            if earlier_kind == kind and earlier.get("transient", {}).get("display_id") == name:
                earlier["data"], earlier["metadata"] = content["data"], content.get("metadata", {})
                return
    messages.append((kind, content))


def overwritten(text: str) -> str:
    """Text without the parts of lines that later parts overwrite by a carriage return."""
    if "\r" not in text:
        return text
    return "\n".join(_last_parts(line) for line in text.split("\n"))


def _last_parts(line: str) -> str:
    parts = line.split("\r")
    if len(parts) < 3:
        return line
    # The first return stands for all that is dropped: what an earlier message left in this line is overwritten too.
    return f"\r{parts[-2]}\r{parts[-1]}"
