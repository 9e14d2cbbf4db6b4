"""A job's card: its state in one line, its bars, what is worth knowing. Plain HTML and plain text, from a row.

Everything that comes from a job is escaped: what a job is called or says must not become markup in the notebook.
"""

from __future__ import annotations

import html
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cellq.message import Row, State, short_id

_MARK = {
    State.PENDING: ("○", "#888"),
    State.RUNNING: ("●", "#1a73e8"),
    State.COMPLETED: ("✓", "#1e8e3e"),
    State.FAILED: ("✗", "#d93025"),
    State.CANCELLED: ("⊘", "#888"),
}


def facts(row: Row, now: float | None = None) -> list[str]:
    """What is worth knowing besides name and state, in a few words each."""
    now = time.time() if now is None else now
    said = []
    if row.state is State.PENDING:
        if row.due is not None and row.due > now:
            said.append(f"starts in {duration(row.due - now)}")
        else:
            said.append(f"waiting for {duration(now - row.created)}")
    elif row.started is not None:
        said.append(duration((row.finished or now) - row.started))
    if row.attempt > 1:
        said.append(f"attempt {row.attempt} of {row.retries + 1}")
    if row.cancelling and row.state is State.RUNNING:
        said.append("stopping")
    if row.failure is not None and row.state is State.FAILED:
        said.append(row.failure.message.splitlines()[0][:200] if row.failure.message else row.failure.cause)
    return said


def duration(seconds: float) -> str:
    """Seconds as people say them: "0.3 s", "42 s", "3 min 05 s", "2 h 10 min"."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def bars_of(row: Row) -> list[dict[str, Any]]:
    """The job's progress bars as it last reported them."""
    found: list[dict[str, Any]] = json.loads(row.progress) if row.progress else []
    return found


def text(row: Row, notes: Sequence[str] = ()) -> str:
    """The card as one line of plain text, and a line per note."""
    line = f"{_MARK[row.state][0]} {row.name or row.task} ({short_id(row.id)}) {row.state}"
    return "\n".join([" · ".join([line, *facts(row)]), *notes])


def page(row: Row, notes: Sequence[str] = ()) -> str:
    """The card as static HTML: no script, no style sheet, so that it looks the same in a saved notebook."""
    mark, colour = _MARK[row.state]
    rest = "".join(f' <span style="opacity:.7">· {html.escape(fact)}</span>' for fact in facts(row))
    lines = [
        f'<div><span style="color:{colour}" aria-hidden="true">{mark}</span> <b>{html.escape(row.name or row.task)}</b> '
        f'<code>{short_id(row.id)}</code> <span role="status">{row.state}</span>{rest}</div>'
    ]
    lines += [_bar(bar) for bar in bars_of(row)]
    lines += [f'<div style="opacity:.7">{html.escape(note)}</div>' for note in notes]
    return f'<div class="cellq-card" style="font-size:90%">{"".join(lines)}</div>'


def _bar(bar: Mapping[str, Any]) -> str:
    share = fraction(bar)
    words = html.escape(bar_text(bar))
    if share is None:
        return f"<div>{words}</div>"
    return (
        f'<div><progress max="1" value="{share:.4f}" style="width:16em;vertical-align:middle"></progress> {words}</div>'
    )


def fraction(bar: Mapping[str, Any]) -> float | None:
    """How much of a bar is done, 0 to 1; None when its total is not known."""
    total, n = bar.get("total"), bar.get("n")
    if not isinstance(total, int | float) or not isinstance(n, int | float) or total <= 0:
        return None
    return min(1.0, max(0.0, n / total))


def bar_text(bar: Mapping[str, Any]) -> str:
    """A bar's numbers in words: "epochs 3/20 · 1.2 it/s · loss=0.3"."""
    total = bar.get("total")
    count = f"{bar.get('n', 0):g}" + (f"/{total:g}" if isinstance(total, int | float) else "")
    said = [f"{bar.get('desc') or ''} {count}".strip()]
    rate = bar.get("rate")
    if isinstance(rate, int | float):
        said.append(f"{rate:.3g} {bar.get('unit') or 'it'}/s")
    if bar.get("note"):
        said.append(str(bar["note"]))
    return " · ".join(said)


def bundle(row: Row, notes: Sequence[str] = ()) -> dict[str, str]:
    """The card as a mimebundle."""
    return {"text/html": page(row, notes), "text/plain": text(row, notes)}
