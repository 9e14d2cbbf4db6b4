"""The ways to show types that a notebook has added to its shell (`sympy.init_printing` adds many)."""

from __future__ import annotations

import sys
from importlib import import_module
from types import FunctionType, MethodType
from typing import Any

from cellq import here
from cellq.cell.provider import GONE, Provider

_SHOWERS = ("sympy.",)
"""Libraries whose own functions show values, once the notebook has asked them to."""

_HELPERS = "sympy.core._print_helpers"
_first_sympy: dict[str, object] = {}
_SYMPY = ("_repr_latex_", "_repr_png_", "_repr_svg_")


def _is_custom(function: object) -> bool:
    if isinstance(function, MethodType):
        return type(function.__self__).__module__ == "__main__"
    home = getattr(function, "__module__", None) or ""
    return isinstance(function, FunctionType) and (home == "__main__" or home.startswith(_SHOWERS))


def _formatters() -> dict[Any, object]:
    shell = here.shell()
    if shell is None:
        return {}
    found: dict[Any, object] = {}
    for mime, formatter in shell.display_formatter.formatters.items():
        for kind, function in formatter.type_printers.items():
            if _is_custom(function):
                found[mime, kind] = function
        for name, function in formatter.deferred_printers.items():
            if _is_custom(function):
                found[mime, name] = function
    helpers = sys.modules.get(_HELPERS)
    if helpers is not None:
        attributes = vars(helpers.Printable)
        disabled = attributes["_repr_disabled"]
        for name in _SYMPY:
            value = attributes.get(name, disabled)
            if _is_own(value):
                _first_sympy[name] = value
            elif (value is disabled) != (name != "_repr_latex_"):  # not as it is at first
                found["", name] = "off" if value is disabled else value
    return found


def _is_own(value: object) -> bool:
    """Whether a `_repr_latex_` is sympy's own, that of the class."""
    name = getattr(value, "__qualname__", "")
    return bool(name.startswith("Printable.") and name != "Printable._repr_disabled")


def _apply_formatters(state: Any) -> None:
    shell = here.shell()
    for (mime, kind), function in state.items() if shell is not None else ():
        if not mime:
            printable = import_module(_HELPERS).Printable
            disabled, value = vars(printable)["_repr_disabled"], vars(printable).get(kind)
            if _is_own(value):
                _first_sympy[kind] = value
            if function is GONE:
                function = _first_sympy.get(kind, disabled)
            setattr(printable, kind, disabled if function == "off" else function)
            continue
        formatter = shell.display_formatter.formatters[mime]
        printers = formatter.deferred_printers if isinstance(kind, tuple) else formatter.type_printers
        if function is GONE:
            printers.pop(kind, None)
        else:
            printers[kind] = function


PROVIDERS = (Provider("formatters", _formatters, _apply_formatters, module="IPython.core.getipython"),)
