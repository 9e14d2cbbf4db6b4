"""The magics and aliases that a notebook's shell has besides IPython's own, and how the other side gets them.

    whose magic                                 travels as
    the notebook's, or a module's beside it     itself, by value
    a library's (`%load_ext sql`, `ipytest`)    where it is: imported there once a cell calls it
    an alias (`%alias`, `%alias_magic`)         the names

A library is not imported for each cell just because it has brought a magic: that can take longer than the cell.
"""

from __future__ import annotations

from importlib import import_module
from types import FunctionType, MethodType
from typing import Any

from cellq import here, settings
from cellq.cell.provider import GONE, Provider
from cellq.wire.reducing import by_value

_OWN = ("IPython.core", "ipykernel.", "cellq.")


class Elsewhere:
    """A magic of a library that is not imported yet.

    Args:
        kind: "line" or "cell".
        name: what cells call it.
        home: its module, and its name there or that of its class.
        marks: what IPython reads off a magic before it calls it.
    """

    def __init__(self, kind: str, name: str, home: tuple[str, str], marks: dict[str, bool]) -> None:
        vars(self).update(marks)
        self.kind, self.name, self.home, self.marks = kind, name, home, marks

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Import the library, let it bring its magics, and call this one."""
        shell = here.shell()
        module = import_module(self.home[0])
        magic: Any = module
        for step in self.home[1].split("."):
            magic = getattr(magic, step)
        if isinstance(magic, type):
            load = getattr(module, "load_ipython_extension", None)
            load(shell) if load is not None else shell.register_magics(magic)
            magic = shell.find_magic(self.name, self.kind)
            if isinstance(magic, Elsewhere):
                raise LookupError(f"{self.home[0]} does not bring the magic {self.name} any more")
        else:
            shell.register_magic_function(magic, self.kind, self.name)
        return magic(*args, **kwargs)


def _magics() -> dict[Any, object]:
    shell = here.shell()
    if shell is None:
        return {}
    usual = {name for name, _ in shell.alias_manager.default_aliases}
    found: dict[Any, object] = {
        ("alias", name): command for name, command in shell.alias_manager.aliases if name not in usual
    }
    for kind, magics in shell.magics_manager.magics.items():
        for name, magic in magics.items():
            if (told := _told(magic)) is not None:
                found[kind, name] = told
    return found


def _told(magic: Any) -> object:
    """How a magic is told to the other side; None if it has it anyway or cannot have it."""
    if isinstance(magic, Elsewhere):
        return magic.home, magic.marks
    if type(magic).__name__ == "MagicAlias":
        return magic.magic_name, magic.magic_kind, magic.magic_params
    owner = type(magic.__self__) if isinstance(magic, MethodType) else magic
    if not isinstance(owner, type | FunctionType) or owner.__module__.startswith(_OWN):
        return None
    if by_value(owner):
        return magic
    marks = {name: value for name, value in vars(getattr(magic, "__func__", magic)).items() if type(value) is bool}
    return (owner.__module__, owner.__qualname__), marks


def _apply_magics(state: Any) -> None:
    shell = here.shell()
    for (kind, name), told in state.items() if shell is not None else ():
        if kind == "alias":
            shell.alias_manager.undefine_alias(name) if told is GONE else shell.alias_manager.define_alias(name, told)
            continue
        known = shell.magics_manager.magics[kind]
        if told is GONE:
            known.pop(name, None)
        elif not isinstance(told, tuple):
            shell.register_magic_function(told, kind, name)
        elif len(told) == 3:
            shell.magics_manager.register_alias(name, *told)
        elif name not in known or _told(known[name]) != told:
            known[name] = Elsewhere(kind, name, *told)


# -------------------------------------------------------------------------------------------- autoreload

_mode = ["off"]
"""What a slot has been told; it has nothing to reload, as it lives for a cell."""


def _autoreload() -> object:
    magics = getattr(here.shell(), "magics_manager", None)
    reloader = getattr(magics and magics.registry.get("AutoreloadMagics"), "_reloader", None)
    if reloader is None:
        return _mode[0]
    if not reloader.enabled:
        return "off"
    return "complete" if reloader.autoload_obj else "all" if reloader.check_all else "explicit"


def _apply_autoreload(mode: object) -> None:
    _mode[0] = str(mode)
    shell = here.shell()
    if shell is not None and not settings.in_slot:
        shell.extension_manager.load_extension("autoreload")
        shell.run_line_magic("autoreload", str(mode))


PROVIDERS = (
    Provider("magics", _magics, _apply_magics, module="IPython.core.getipython"),
    Provider("autoreload", _autoreload, _apply_autoreload, module="IPython.core.getipython"),
)
