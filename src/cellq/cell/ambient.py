"""The state around a cell that is in no variable.

Each kind of state is a small *provider*: `capture` reads it as plain values, `apply` puts such values in force. A
provider says for which module it speaks: while that module is not imported there is nothing to capture, and nothing
of it travels.

    notebook: capture() ──▶ parcel ──▶ slot: apply(state); capture() ── the cell runs ── difference(before) ──┐
    notebook: apply(what the cell changed, unless it changed here meanwhile) ◀────────────────────────────────┘

State that is a mapping (environment, rcParams) is compared and brought back key by key. Other packages add providers
through the entry point group "cellq.ambient": each entry is a `Provider`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial

from cellq.cell import figures, formatters, imported, interpreter, libraries, magics, modules, patches, warned
from cellq.cell.provider import GONE, Provider

State = dict[str, object]
"""Captured state by provider name. Values are whatever that provider's `apply` takes; they pickle."""


def capture() -> State:
    """The ambient state of this process now. A provider that fails is left out."""
    state: State = {}
    for provider in providers().values():
        if provider.module in sys.modules:
            try:
                value = provider.capture()
            except Exception:  # a half-initialised or patched library must not stop the cell
                continue
            if value is not None:
                state[provider.name] = value
    return state


def outgoing(state: State, others: Iterable[State] = ()) -> State:
    """What of a captured state is sent along with a cell: of some providers only what changed since the start.

    Args:
        others: the states at which cells were packed that are still out. A random generator that has not moved since
            then is sent branched, or those cells and this one would draw the same numbers.
    """
    sent = dict(state)
    for name, provider in providers().items():
        if name in state and provider.initial is not None:
            sent[name] = difference({name: provider.initial()}, {name: state[name]}).get(name, {})
        if name in state and provider.branch is not None:
            out = sum(same(other.get(name), state[name]) for other in others)
            if out:
                sent[name] = provider.branch(state[name], out)
    return sent


def apply(state: Mapping[str, object], *, first: bool | None = None) -> list[str]:
    """Put captured state in force here; for a module that is not imported yet, as soon as it is.

    Args:
        state: from `capture` or `difference`, of this or another process.
        first: only the providers that are `first` (True) or are not (False); None for all of them.

    Returns:
        What could not be applied, one line each, for people.
    """
    problems = []
    for name, provider in providers().items():
        if name not in state or state[name] == {} or first not in (None, provider.first):
            continue
        package = provider.module.partition(".")[0]
        if package in sys.modules:
            try:
                provider.apply(state[name])
            except Exception as error:
                problems.append(f"{name}: {type(error).__name__}: {error}")
        else:
            imported.when(package, partial(provider.apply, state[name]))
    return problems


def difference(before: Mapping[str, object], now: Mapping[str, object] | None = None) -> State:
    """What has changed since `before`; of mappings only the changed keys.

    Args:
        now: captured here when left out.
    """
    changed: State = {}
    for name, value in (capture() if now is None else now).items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            part = {key: item for key, item in value.items() if key not in old or not same(item, old[key])}
            part.update((key, GONE) for key in old if key not in value)
            if part:
                changed[name] = part
        elif not same(value, old):
            changed[name] = value
    return changed


def still(changed: Mapping[str, object], sent: Mapping[str, object]) -> State:
    """The part of `changed` that nobody has changed here since `sent` was captured here."""
    moved = difference(sent)
    kept: State = {}
    for name, value in changed.items():
        here = moved.get(name)
        if here is None:
            kept[name] = value
        elif isinstance(value, dict) and isinstance(here, dict):
            part = {key: item for key, item in value.items() if key not in here}
            if part:
                kept[name] = part
    return kept


def same(one: object, other: object) -> bool:
    """Equality that never raises; what cannot be compared is different unless it is the same object."""
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:  # arrays and other things whose == is not a yes or no
        return False


@lru_cache(maxsize=1)
def providers() -> Mapping[str, Provider]:
    """All providers by name: cellq's own, then those of installed packages."""
    from importlib.metadata import entry_points  # takes longer to import than all the rest of this room

    found = {
        provider.name: provider
        for provider in (
            *interpreter.PROVIDERS,
            *libraries.PROVIDERS,
            *magics.PROVIDERS,
            *modules.PROVIDERS,
            *figures.PROVIDERS,
            *formatters.PROVIDERS,
            *patches.PROVIDERS,
            *warned.PROVIDERS,  # last, for what others put in force may change the filters
        )
    }
    for entry in entry_points(group="cellq.ambient"):
        try:
            provider = entry.load()
        except Exception as error:
            warnings.warn(f"cellq.ambient entry point {entry.name!r} could not be loaded: {error}", stacklevel=2)
            continue
        found[provider.name] = provider
    return found
