"""Where a notebook's job comes from: which notebook, which cell, which kernel. Kept with the job, as JSON."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The origin of a job.

    Attributes:
        notebook: the path of the notebook, "" when the front end does not tell.
        cell: the front end's id of the cell, which is saved with it; "" when the front end does not tell.
        source: a digest of the cell's text.
        host, pid, began: the kernel's machine, process, and when that started (epoch seconds).
    """

    notebook: str = ""
    cell: str = ""
    source: str = ""
    host: str = ""
    pid: int = 0
    began: float = 0.0

    @classmethod
    def here(cls, namespace: Mapping[str, Any], cell: str = "", source: str = "") -> Origin:
        """Of a cell that runs here and now.

        Args:
            namespace: the notebook's.
            source: the cell's text.
        """
        told = os.environ.get("JPY_SESSION_NAME") or namespace.get("__vsc_ipynb_file__") or ""
        return cls(
            notebook=str(Path(str(told)).absolute()) if told else "",
            cell=cell,
            source=cls.digest(source),
            host=socket.gethostname(),
            pid=os.getpid(),
            began=_began(os.getpid()),
        )

    @staticmethod
    def digest(source: str) -> str:
        """What is kept of a cell's text."""
        return hashlib.sha256(source.encode()).hexdigest()[:16] if source else ""

    @classmethod
    def of(cls, text: str) -> Origin:
        """The origin in a row; an empty one for jobs that come from elsewhere."""
        try:
            told = json.loads(text)
            kept = {field.name: told[field.name] for field in dataclasses.fields(cls) if field.name in told}
        except (ValueError, TypeError):
            return cls()
        return cls(**kept)

    def text(self) -> str:
        """As it is kept."""
        return json.dumps(dataclasses.asdict(self))

    def is_cell(self, other: Origin) -> bool:
        """Whether both are the same cell of the same notebook; where cells have no ids, one of the same text."""
        if self.notebook != other.notebook:
            return False
        if self.cell or other.cell:
            return self.cell == other.cell
        return bool(self.source) and self.source == other.source

    def left_behind(self, here: Origin) -> bool:
        """Whether it is of the notebook `here`, from a kernel that is no more."""
        return bool(self.notebook) and (self.notebook, self.host) == (here.notebook, here.host) and not self.lives()

    def lives(self) -> bool:
        """Whether the kernel is there still; False when it was on another machine."""
        try:
            return self.host == socket.gethostname() and abs(psutil.Process(self.pid).create_time() - self.began) < 1.0
        except psutil.Error:
            return False


@functools.lru_cache(maxsize=2)
def _began(pid: int) -> float:
    return float(psutil.Process(pid).create_time())
