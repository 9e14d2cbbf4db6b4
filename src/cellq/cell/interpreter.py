"""Ambient state of the Python process itself: directory, environment, path, warnings, random, decimal, logging."""

from __future__ import annotations

import logging
import os
import random
import sys
import warnings
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from cellq.cell.provider import GONE, Provider

# What belongs to one process and would mislead another.
_OWN_ENVIRONMENT = ("JPY_", "CELLQ_", "PYDEVD_", "VSCODE_", "IPYTHONDIR")
_SHELL_ENVIRONMENT = frozenset({"_", "PWD", "OLDPWD", "SHLVL", "MPLBACKEND"})


def _is_own(key: str) -> bool:
    return key in _SHELL_ENVIRONMENT or key.startswith(_OWN_ENVIRONMENT)


def _environment() -> dict[str, object]:
    return {key: value for key, value in os.environ.items() if not _is_own(key)}


@lru_cache(maxsize=1)
def _first_environment() -> dict[str, object]:
    try:  # the one this process was started with, whatever has been changed since
        raw = Path("/proc/self/environ").read_bytes()
    except OSError:
        return _AT_IMPORT
    pairs = (os.fsdecode(item).partition("=") for item in raw.split(b"\0") if item)
    return {key: value for key, _, value in pairs if not _is_own(key)}


_AT_IMPORT = _environment()


def _apply_environment(changes: Any) -> None:
    for key, value in changes.items():
        if value is GONE:
            os.environ.pop(key, None)
        elif os.environ.get(key) != value:
            os.environ[key] = value


def _is_system(entry: str) -> bool:
    """A place of this Python installation, which the other side has for itself."""
    return bool(entry) and entry.startswith((sys.prefix, sys.base_prefix, sys.exec_prefix))


def _path() -> tuple[list[str], list[str]]:
    front: list[str] = []
    back: list[str] = []
    for entry in sys.path:
        if not isinstance(entry, str):
            continue
        if _is_system(entry):
            back.append(entry)
        else:
            (back if back else front).append(entry)
    return front, [entry for entry in back if not _is_system(entry)]


def _apply_path(state: Any) -> None:
    front, back = state
    given = {*front, *back}
    sys.path[:] = [*front, *(entry for entry in sys.path if entry not in given), *back]


def _category(kind: Any) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def _filters() -> list[tuple[Any, ...]]:
    return [
        (action, message, _category(kind), module, line) for action, message, kind, module, line in warnings.filters
    ]


def _apply_filters(state: Any) -> None:
    filters = []
    for action, message, (home, name), module, line in state:
        try:
            kind = getattr(sys.modules.get(home) or import_module(home), name)
        except (ImportError, AttributeError):  # a category only the other side has cannot be warned with here
            continue
        filters.append((action, message, kind, module, line))
    warnings.filters[:] = filters  # type: ignore[index]
    getattr(warnings, "_filters_mutated", lambda: None)()


def _apply_random(state: Any) -> None:
    random.setstate(state)


def _branch_random(state: object, number: int) -> object:
    return random.Random(f"{number} {state}").getstate()


def _decimal() -> tuple[Any, ...]:
    context = sys.modules["decimal"].getcontext()
    traps = tuple(sorted(signal.__name__ for signal, on in context.traps.items() if on))
    return (context.prec, context.rounding, context.Emin, context.Emax, context.capitals, context.clamp, traps)


def _apply_decimal(state: Any) -> None:
    import decimal

    prec, rounding, low, high, capitals, clamp, traps = state
    context = decimal.Context(
        prec, rounding, low, high, capitals, clamp, [], [getattr(decimal, name) for name in traps]
    )
    decimal.setcontext(context)


def _logging() -> dict[str, object]:
    loggers = {
        name: logger.level
        for name, logger in list(logging.Logger.manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET
    }
    state: dict[str, object] = {f"level {name}": level for name, level in loggers.items()}
    state["root"] = logging.root.level
    state["disabled"] = logging.root.manager.disable
    for handler in logging.root.handlers:  # what `logging.basicConfig` makes; files stay where they were opened
        if type(handler) is logging.StreamHandler:
            formatter = handler.formatter
            style = getattr(getattr(formatter, "_style", None), "_fmt", None)
            state["handler"] = (handler.level, style, getattr(formatter, "datefmt", None))
    return state


def _apply_logging(state: Any) -> None:
    for key, value in state.items():
        if key.startswith("level "):
            logging.getLogger(key.removeprefix("level ")).setLevel(logging.NOTSET if value is GONE else value)
    if isinstance(state.get("root"), int):
        logging.root.setLevel(state["root"])
    if isinstance(state.get("disabled"), int):
        logging.disable(state["disabled"])
    if isinstance(state.get("handler"), tuple):
        level, style, dates = state["handler"]
        mine = [handler for handler in logging.root.handlers if type(handler) is logging.StreamHandler]
        handler = mine[0] if mine else logging.StreamHandler()
        handler.setLevel(level)
        if style is not None:
            mark: Any = "%" if "%(" in style else "{" if "{" in style else "$"
            handler.setFormatter(logging.Formatter(style, dates, mark, validate=False))
        if not mine:
            logging.root.addHandler(handler)


PROVIDERS = (
    Provider("working directory", os.getcwd, lambda state: os.chdir(str(state)), first=True),
    Provider("environment", _environment, _apply_environment, initial=_first_environment, first=True),
    Provider("sys.path", _path, _apply_path, first=True),
    Provider(
        "recursion limit", sys.getrecursionlimit, lambda state: sys.setrecursionlimit(int(str(state))), first=True
    ),
    Provider("warning filters", _filters, _apply_filters),
    Provider("random", random.getstate, _apply_random, branch=_branch_random),
    Provider("decimal context", _decimal, _apply_decimal, module="decimal"),
    Provider("logging", _logging, _apply_logging),
)
