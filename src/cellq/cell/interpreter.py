"""Ambient state of the Python process itself: directory, environment, path, random, decimal, logging."""

from __future__ import annotations

import gc
import logging
import os
import random
import sys
import time
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from cellq import here
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
    if "TZ" in changes and hasattr(time, "tzset"):
        time.tzset()


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


_QUIET_LOGGERS = ("asyncio", "aiosqlite", "cellq", "tornado", "ipykernel", "traitlets", "comm", "IPKernelApp", "Comm")


def _logging() -> dict[str, object]:
    state: dict[str, object] = {"": _logger(logging.root), "disabled": logging.root.manager.disable}
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and not name.startswith(_QUIET_LOGGERS):
            told = _logger(logger)
            if told != (logging.NOTSET, True, False, ()):
                state[name] = told
    return state


def _logger(logger: logging.Logger) -> tuple[Any, ...]:
    handlers = (_handler(handler) for handler in logger.handlers)
    return logger.level, logger.propagate, logger.disabled, tuple(handler for handler in handlers if handler)


def _handler(handler: logging.Handler) -> tuple[Any, ...] | None:
    """A handler as plain values; None for those that only this process can have."""
    style = getattr(handler.formatter, "_style", None)
    shape = None if style is None else (style._fmt, handler.formatter.datefmt)  # type: ignore[union-attr]
    if handler.formatter is not None and type(handler.formatter) is not logging.Formatter:
        shape = None
    if type(handler) is logging.FileHandler:
        return "file", handler.level, shape, handler.baseFilename, handler.encoding
    if type(handler) is not logging.StreamHandler:
        return ("null", handler.level, None) if type(handler) is logging.NullHandler else None
    stream = str(getattr(handler.stream, "name", "")).strip("<>")  # kernels leave the brackets out
    return (stream, handler.level, shape) if stream in ("stdout", "stderr") else None


def _apply_logging(state: Any) -> None:
    for name, told in state.items():
        if name == "disabled":
            logging.disable(told)
            continue
        logger = logging.getLogger(name or None)
        if told is GONE:
            told = (logging.NOTSET, True, False, ())
        level, logger.propagate, logger.disabled, handlers = told
        logger.setLevel(level)
        known = {_handler(handler): handler for handler in logger.handlers}
        strangers = [handler for handler in logger.handlers if _handler(handler) is None]
        logger.handlers[:] = [*strangers, *(known.get(handler) or _make_handler(*handler) for handler in handlers)]


def _make_handler(kind: str, level: int, shape: Any, file: str = "", encoding: str | None = None) -> logging.Handler:
    handler: logging.Handler
    if kind == "file":
        handler = logging.FileHandler(file, encoding=encoding)
    else:
        handler = logging.NullHandler() if kind == "null" else logging.StreamHandler(getattr(sys, kind))
    handler.setLevel(level)
    if shape is not None:
        text, dates = shape
        mark: Any = "%" if "%(" in text else "{" if "{" in text else "$"
        handler.setFormatter(logging.Formatter(text, dates, mark, validate=False))
    return handler


def _locale() -> object:
    return sys.modules["locale"].setlocale(0)  # LC_ALL


def _apply_locale(state: object) -> None:
    import_module("locale").setlocale(0, state)


def _csv_dialects() -> dict[str, object]:
    csv = sys.modules["csv"]
    names = ("delimiter", "doublequote", "escapechar", "lineterminator", "quotechar", "quoting", "skipinitialspace")
    return {
        name: {part: getattr(csv.get_dialect(name), part) for part in names}
        for name in csv.list_dialects()
        if name not in ("excel", "excel-tab", "unix")
    }


def _apply_csv_dialects(state: Any) -> None:
    csv = import_module("csv")
    for name, parts in state.items():
        if parts is GONE:
            csv.unregister_dialect(name)
        else:
            csv.register_dialect(name, **parts)


def _first_weekday() -> object:
    return sys.modules["calendar"].firstweekday()


def _apply_first_weekday(state: object) -> None:
    import_module("calendar").setfirstweekday(state)


def _nested_loops() -> object:
    """The package that lets `asyncio.run` work in the notebook, where a loop is running anyway."""
    known = vars(sys.modules["asyncio"])
    return "nest_asyncio2" if "_nest_asyncio2" in known else "nest_asyncio" if "_nest_patched" in known else None


def _apply_nested_loops(package: object) -> None:
    if package != _nested_loops():
        import_module(str(package)).apply(here.loop())


PROVIDERS = (
    Provider("working directory", os.getcwd, lambda state: os.chdir(str(state)), first=True),
    Provider("environment", _environment, _apply_environment, initial=_first_environment, first=True),
    Provider("sys.path", _path, _apply_path, first=True),
    Provider(
        "recursion limit", sys.getrecursionlimit, lambda state: sys.setrecursionlimit(int(str(state))), first=True
    ),
    Provider("random", random.getstate, _apply_random, branch=_branch_random),
    Provider("garbage collector", gc.isenabled, lambda state: gc.enable() if state else gc.disable()),
    Provider("switch interval", sys.getswitchinterval, lambda state: sys.setswitchinterval(float(str(state)))),
    Provider("locale", _locale, _apply_locale, module="locale"),
    Provider("csv dialects", _csv_dialects, _apply_csv_dialects, module="csv"),
    Provider("first weekday", _first_weekday, _apply_first_weekday, module="calendar"),
    Provider("decimal context", _decimal, _apply_decimal, module="decimal"),
    Provider("logging", _logging, _apply_logging),
    Provider("nested event loops", _nested_loops, _apply_nested_loops, module="asyncio"),
)
