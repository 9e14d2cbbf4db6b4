"""Progress bars of libraries arrive as numbers, not as text: tqdm and rich.progress draw nothing in a slot.

Text bars rely on a terminal's cursor; in a notebook's output nested ones pile up line by line. Numbers can be drawn as
bars by whoever shows the job. The libraries are patched when user code imports them, through a finder at the head of
`sys.meta_path`, so that a slot that uses neither pays nothing (importing tqdm alone costs a tenth of a second).

tqdm keeps its own throttle (ten updates a second): a loop of a million steps makes as many reports as it would have
drawn bars.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from cellq.runner.context import current_job, new_bar_id


class _Nowhere:
    """A file for bars that are not drawn."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def _patch_tqdm(module: types.ModuleType) -> None:
    bar: Any = module.tqdm
    first_init, first_close = bar.__init__, bar.close
    nowhere = _Nowhere()

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        self._cellq_bar = new_bar_id()
        if kwargs.get("file") in (None, sys.stdout, sys.stderr):
            kwargs["file"] = nowhere
        first_init(self, *args, **kwargs)

    def report(self: Any, closed: bool) -> None:
        job = current_job()
        if job is None:
            return
        state = self.format_dict
        job.report(
            {
                "id": self._cellq_bar,
                "desc": (state["prefix"] or "").rstrip(": "),
                "n": state["n"],
                "total": state["total"],
                "unit": state["unit"],
                "rate": state["rate"],
                "elapsed": state["elapsed"],
                "note": str(state["postfix"] or ""),
                "closed": closed,
                "leave": self.pos == 0 if self.leave is None else bool(self.leave),
            }
        )

    def display(self: Any, msg: str | None = None, pos: int | None = None, **_: Any) -> bool:
        if not self.disable and getattr(self, "fp", None) is not None:
            report(self, False)
        return True

    def close(self: Any) -> None:
        shown = not self.disable
        first_close(self)
        if shown:
            report(self, True)

    bar.__init__, bar.display, bar.close = __init__, display, close
    bar.status_printer = staticmethod(lambda file: lambda text: None)
    # Asked for by name, tqdm.notebook would make widgets that nobody can show.
    notebook: Any = types.ModuleType("tqdm.notebook")
    notebook.tqdm = notebook.tqdm_notebook = bar
    notebook.trange = notebook.tnrange = lambda *args, **kwargs: bar(range(*args), **kwargs)
    notebook.IProgress = None
    notebook.WARN_NOIPYW = ""
    sys.modules["tqdm.notebook"] = notebook


def _patch_rich(module: types.ModuleType) -> None:
    progress: Any = module.Progress
    ids: dict[tuple[int, int], int] = {}

    def report(self: Any, task_id: Any, closed: bool = False) -> None:
        job = current_job()
        task = self._tasks.get(task_id)
        if job is None or task is None:
            return
        elapsed = task.elapsed
        job.report(
            {
                "id": ids.setdefault((id(self), int(task_id)), new_bar_id()),
                "desc": str(task.description),
                "n": task.completed,
                "total": task.total,
                "unit": "",
                "rate": task.speed,
                "elapsed": elapsed,
                "note": "",
                "closed": closed or task.finished,
                "leave": True,
            }
        )

    def wrap(name: str, task_of: Callable[[Any, Any], Any]) -> None:
        first = getattr(progress, name)

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = first(self, *args, **kwargs)
            report(self, task_of(result, args[0] if args else kwargs.get("task_id")))
            return result

        method.__name__ = name
        setattr(progress, name, method)

    for name in ("update", "advance", "reset", "start_task", "stop_task"):
        wrap(name, lambda _result, given: given)
    wrap("add_task", lambda result, _given: result)
    first_init, first_stop = progress.__init__, progress.stop

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs["disable"] = True  # draws nothing; the numbers are kept all the same
        first_init(self, *args, **kwargs)

    def stop(self: Any) -> None:
        first_stop(self)
        for task_id in list(self._tasks):
            report(self, task_id, closed=True)

    progress.__init__, progress.stop = __init__, stop


_PATCHES: dict[str, Callable[[types.ModuleType], None]] = {
    "tqdm.std": _patch_tqdm,
    "rich.progress": _patch_rich,
}


class _PatchingLoader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, patch: Callable[[types.ModuleType], None]) -> None:
        self._loader = loader
        self._patch = patch

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        self._loader.exec_module(module)
        self._patch(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # get_source and others that tools look for


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self) -> None:
        self._searching = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _PATCHES or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching = False
        if spec is not None and spec.loader is not None:
            spec.loader = _PatchingLoader(spec.loader, _PATCHES[fullname])
        return spec


def install() -> None:
    """From now on the bars of tqdm and rich report to the current job."""
    for name, patch in _PATCHES.items():
        if name in sys.modules:
            patch(sys.modules[name])
    sys.meta_path.insert(0, _Finder())
