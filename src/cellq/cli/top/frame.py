"""What stands on the terminal: a picture's tables, cut to its height, and a line at the foot.

      cellq top  sqlite:///…/jobs.db
      2 workers, 3 of 4 slots busy, 3 running, 1,204 pending

      queues    a quarter of the lines at most
      workers   a quarter of the lines at most
      jobs      what is left

      keys, or a question, or what was done

Two frames that are equal look the same, and the second need not be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.table import Table as Grid
from rich.text import Text

from cellq.cli.screen import STYLES
from cellq.cli.top.tables import Table
from cellq.message import Counts

_FIXED = 9  # lines: two at the top, three blank ones, three headings, the foot
_LEAST = 6
_GAP = 2  # columns between two columns
_SHORT = 8  # to which what may be cut is cut at most


def _shares(height: int, counts: Counts) -> tuple[int, int, int]:
    """How many lines queues, workers and jobs get."""
    lines = max(_LEAST, height - _FIXED)
    quarter = max(2, lines // 4)  # one line, and one that tells of the others
    queues, workers = min(len(counts.queues), quarter), min(len(counts.workers), quarter)
    return queues, workers, lines - queues - workers


def room(height: int, counts: Counts) -> int:
    """For how many running jobs there is a line on a screen of this height."""
    return max(1, _shares(height, counts)[2] - 1)  # one line tells of the others


@dataclass(frozen=True, slots=True)
class Foot:
    """The line at the foot of the screen."""

    text: str
    style: str = "dim"


@dataclass(frozen=True, slots=True)
class Frame:
    """All that is on the screen. `chosen` is the key of the line that stands out."""

    width: int
    height: int
    place: str
    told: str
    tables: tuple[Table, ...]
    chosen: bytes | str | None
    foot: Foot

    def drawn(self) -> RenderableType:
        """As rich draws it; on a screen that is too small for all of it, the foot stays."""
        above: list[RenderableType] = [
            Text.assemble(("cellq top", "bold"), "  ", self.place, no_wrap=True, overflow="ellipsis"),
            _line(self.told),
        ]
        for table in self.tables:
            above += [Text(""), self._grid(table) if table.lines else _line(table.empty, "dim")]
            if table.more:
                above.append(_line(table.more, "dim"))
        whole = Layout()
        whole.split_column(Layout(Group(*above)), Layout(_line(self.foot.text, self.foot.style), size=1))
        return whole

    def _grid(self, table: Table) -> Grid:
        grid = Grid(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        widths = _widths(table)
        left_out = _left_out(table, widths, self.width)
        shown = [at for at, heading in enumerate(table.headings) if heading not in left_out]
        for at in shown:
            heading = table.headings[at]
            elastic = heading in table.elastic
            grid.add_column(
                Text(heading, no_wrap=True),
                justify="right" if heading in table.numbers else "left",
                no_wrap=not elastic,
                min_width=min(widths[at], _SHORT) if elastic else widths[at],
            )
        for line in table.lines:
            cells = (line.cells[at] for at in shown)
            texts = [Text(cell, STYLES.get(cell, ""), no_wrap=True, overflow="ellipsis") for cell in cells]
            grid.add_row(*texts, style="reverse" if line.key == self.chosen else "")
        return grid


def _widths(table: Table) -> list[int]:
    """How wide each column is when nothing is cut."""
    return [
        max(len(heading), *(len(line.cells[at]) for line in table.lines)) for at, heading in enumerate(table.headings)
    ]


def _left_out(table: Table, widths: list[int], width: int) -> set[str]:
    """The columns that a terminal of this width has no place for."""
    left_out: set[str] = set()
    least = {
        heading: min(one, _SHORT) if heading in table.elastic else one
        for heading, one in zip(table.headings, widths, strict=True)
    }
    for heading in table.spare:
        if sum(one + _GAP for one in least.values()) - _GAP <= width:
            break
        left_out.add(heading)
        del least[heading]
    return left_out


def cut(tables: tuple[Table, Table, Table], height: int, counts: Counts) -> tuple[Table, ...]:
    """Queues, workers and jobs, cut to a screen of this height."""
    queues, workers, _ = _shares(height, counts)
    return tables[0].cut(queues), tables[1].cut(workers), tables[2]


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
