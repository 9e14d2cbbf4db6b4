"""What was measured, and how it is shown.

A figure is a ratio where there is a rival: both are measured in turns in the same run, each turn gives one ratio, and
the median of these is the figure, with the lowest and highest beside it. Machines differ and are never quiet; ratios of
neighbouring turns are what survives that. Where there is no rival the figure is the value itself.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table.

    Args:
        what: what was measured, in words.
        unit: of `ours` and `theirs`: "/s", "s", "ms", "us", "%" (shown as such).
        ours: one value per turn.
        rival, theirs: who was measured beside it, and the values of the same turns; nobody when empty.
        more_is_better: for rates.
        limit, goal: of the figure, so of the ratio when there is a rival; None when there is none.
    """

    what: str
    unit: str
    ours: Sequence[float]
    rival: str = ""
    theirs: Sequence[float] = ()
    more_is_better: bool = False
    limit: float | None = None
    goal: float | None = None

    @property
    def figures(self) -> list[float]:
        """The figure of each turn."""
        if not self.rival:
            return list(self.ours)
        return [a / b if b else math.inf for a, b in zip(self.ours, self.theirs, strict=True)]  # an idle one takes 0

    @property
    def verdict(self) -> str:
        """Which of the numbers we set ourselves the figure reaches."""
        if self.limit is None and self.goal is None:
            return ""
        figure = statistics.median(self.figures)
        for name, bound in (("goal", self.goal), ("limit", self.limit)):
            if bound is not None and (figure >= bound if self.more_is_better else figure <= bound):
                return name
        return "misses"

    def as_json(self) -> dict[str, Any]:
        """Everything, as `json` takes it."""
        middle = statistics.median(self.figures)
        return dataclasses.asdict(self) | {"figure": middle, "figures": self.figures, "verdict": self.verdict}


def show(console: Console, lines: Sequence[tuple[str, Line]]) -> None:
    """Print the table. `lines` are pairs of benchmark and row."""
    table = Table(title="cellq beside others: median (lowest to highest)", title_justify="left")
    for heading in ("benchmark", "what", "cellq", "beside", "ratio", "goal", ""):
        table.add_column(heading, overflow="fold")
    last = ""
    for subject, line in lines:
        table.add_row(
            subject if subject != last else "",
            line.what,
            _value(line.ours, line.unit),
            f"{line.rival} {_value(line.theirs, line.unit)}" if line.rival else "",
            _spread(line.figures, "{:.2f}") if line.rival else "",
            _aim(line),
            {
                "goal": "[green]goal[/]",
                "limit": "[yellow]within limit[/]" if line.goal is not None else "[green]ok[/]",
                "misses": "[red]misses[/]",
            }.get(line.verdict, ""),
        )
        last = subject
    console.print(table)


def _value(values: Sequence[float], unit: str) -> str:
    middle = statistics.median(values)
    shape = "{:,.0f}" if middle >= 100 else "{:.1f}" if middle >= 10 else "{:.2f}" if middle >= 0.1 else "{:.3f}"
    return f"{_spread(values, shape)} {unit}" if unit != "/s" else f"{_spread(values, shape)}/s"


def _spread(values: Sequence[float], shape: str) -> str:
    middle = shape.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({shape.format(min(values))}–{shape.format(max(values))})"


def _aim(line: Line) -> str:
    sign = "≥" if line.more_is_better else "≤"
    unit = "" if line.rival else line.unit
    bounds = [f"{bound:,g}{unit if unit in ('/s', '%') else ' ' + unit if unit else ''}" for bound in _bounds(line)]
    return f"{sign} {' / '.join(bounds)}" if bounds else ""


def _bounds(line: Line) -> list[float]:
    return [bound for bound in (line.goal, line.limit) if bound is not None]
