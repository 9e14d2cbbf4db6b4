"""What slots have imported, the zygote imports too, so that the slots that come after have it from the start.

Each cell gets a fresh process, and importing scikit-learn in each of them takes a second. So a slot that has imported
parts of such a library says so, and the zygote imports them when it has nothing else to do:

    slot ── "sklearn.linear_model" ──▶ pipe ──▶ zygote: import it; children born from now on have it

Only libraries that are known to bear it are taught: they compute nothing when imported, and survive a fork.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Set

from cellq.wire import neighbours

_SUITABLE = frozenset(
    {"numpy", "scipy", "pandas", "matplotlib", "mpl_toolkits", "sklearn", "seaborn", "statsmodels", "patsy", "sympy"}
    | {"mpmath", "networkx", "plotly", "altair", "polars", "xarray", "skimage", "PIL", "bs4", "nltk", "torch", "joblib"}
    | {"sqlalchemy", "requests", "ipywidgets", "tqdm", "rich", "asyncio", "unittest", "multiprocessing", "concurrent"}
)
_MOST = 4096  # bytes that a pipe takes in one piece (PIPE_BUF)

_ends: tuple[int, int] | None = None


def listen() -> int:
    """Make the pipe, in the zygote before it forks; gives the end to read from."""
    global _ends
    _ends = os.pipe()
    for end in _ends:
        os.set_blocking(end, False)
    return _ends[0]


def heard(descriptor: int) -> list[str]:
    """The modules that slots have told of and that are not imported here yet."""
    text = b""
    with contextlib.suppress(BlockingIOError):
        while data := os.read(descriptor, 65_536):
            text += data
    return [name for name in dict.fromkeys(text.decode().split()) if name not in sys.modules]


def tell(before: Set[str]) -> None:
    """Tell the zygote, from a slot, what was imported here.

    Args:
        before: the names in `sys.modules` as they were.
    """
    if _ends is None:
        return
    line = b""
    for name in [name for name in list(sys.modules) if name not in before]:
        top = sys.modules.get(name.partition(".")[0])
        if name.partition(".")[0] not in _SUITABLE or top is None or neighbours.travels(top):
            continue
        if len(line) + len(name) >= _MOST:
            _write(line)
            line = b""
        line += name.encode() + b"\n"
    _write(line)


def _write(line: bytes) -> None:
    if line and _ends is not None:
        with contextlib.suppress(OSError):  # full, or the zygote is gone: the next slot may tell it again
            os.write(_ends[1], line)
