"""What a cell did to its names, on the way back into the notebook.

slot: collect(...)                                notebook: merge(...)
  assigned   names bound anew                       bound, unless the user has rebound them meanwhile
  changed    names of objects changed in place      poured into the object the notebook holds (cellq.cell.grafting)
  deleted    names gone                             deleted, unless rebound
  pairs      objects that had come from there,      replaced by the notebook's own (cellq.cell.parts), so that
             wherever they are in the above         `result["data"] is df` stays true
"""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, cast

from cellq.cell import ambient, figures, history, patches
from cellq.cell.fingerprint import fingerprint
from cellq.cell.grafting import Substitution, graft, ndarrays
from cellq.cell.imports import Import, bring_modules, import_of, reload_modules, reloaded, submodules
from cellq.cell.names import is_shell_name
from cellq.cell.parcel import Before, Parcel, Snapshot, out, pickle_state
from cellq.cell.parts import Arrivals, Pair, shared_memory
from cellq.errors import NotPicklable
from cellq.wire import files, salvaging
from cellq.wire.pickling import Pickled, dumps, loads
from cellq.wire.standins import memory_of

_CODE = (type, FunctionType)
_UNDERSCORES = frozenset({"_", "__", "___"})  # the shell's, until somebody writes `for _ in range(3)`

VALUE = ""
"""Where the value of the last expression stands among the names; no name is empty."""

VIEWED = " viewed"
"""Where the widgets stand that were shown: the notebook draws them once they are there."""

SHOWN = " shown"
"""Where the values stand that were shown before it; no name has a space."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What comes back from a cell, as plain values and bytes.

    Attributes:
        names: one pickle of a dict: assigned and changed values by name.
        assigned, changed, deleted, pairs: see above.
        imports: assigned names that are imported instead.
        reloaded: modules beside the notebook that the cell has reloaded.
        modules: submodules that the cell imported or mentions.
        left_behind: names whose value cannot travel, with the reason.
        state: pickled ambient state that the cell changed.
        value_name: where in `names` the value of the last expression is: the name that holds that very value, or
            `VALUE`; None when it was None or cannot travel.
        value_problem: why the value cannot travel, "" when it can.
        shown: the value was shown, so it belongs into `Out`.
        pages: what the cell gave to the pager (`len?`), as mimebundles.
        notes: what people should know, one line each.
    """

    names: Pickled
    assigned: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    imports: Mapping[str, Import] = field(default_factory=dict)
    reloaded: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    left_behind: Mapping[str, str] = field(default_factory=dict)
    state: Pickled | None = None
    value_name: str | None = None
    value_problem: str = ""
    shown: bool = False
    pages: tuple[Mapping[str, object], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_value(self) -> bool:
        """Whether the cell ended with an expression whose value is not None."""
        return self.value_name is not None or bool(self.value_problem)

    def last_value(self) -> object:
        """The value of the cell's last expression, None when it had none.

        Raises:
            NotPicklable: it could not travel.
        """
        return value_of(self)

    def __getitem__(self, name: str) -> object:
        """What the cell assigned to a name, or made of an input it changed.

        Raises:
            KeyError: nothing came back under this name.
            NotPicklable: its value could not travel.
        """
        if name in self.left_behind:
            raise NotPicklable(f"{name} stayed in the worker: {self.left_behind[name]}")
        if name in self.imports:
            return self.imports[name].bring()
        return _load_dict(self.names, None)[name]


def nothing() -> Returned:
    """What comes back from a cell that never ran."""
    return Returned(names=dumps({}))


def collect(
    namespace: Mapping[str, object],
    parcel: Parcel,
    before: Before,
    value: object = None,
    *,
    shown: Sequence[object] = (),
    viewed: Sequence[object] = (),
    pages: Iterable[Mapping[str, object]] = (),
) -> Returned:
    """What the cell did, as it can travel. Never raises because of a value.

    Args:
        namespace: the `__dict__` of this process's `__main__`, after the cell.
        value: what the last expression gave, None for nothing.
        shown: the values that were shown, as a rule that value.
        viewed: the widgets that were shown, one way or another.
        pages: what went to the pager.
    """
    assigned, changed, deleted = _differences(namespace, parcel, before)
    imports: dict[str, Import] = {}
    values: dict[str, object] = {}
    for name in (*assigned, *changed):
        found = import_of(name, namespace[name])
        if found is None:
            values[name] = namespace[name]
        else:
            imports[name] = found
    value_name = None
    if value is not None:
        value_name = next((name for name, held in values.items() if held is value), VALUE)
        values[value_name] = value
    is_shown = value is not None and bool(shown) and shown[-1] is value
    if earlier := list(shown[:-1] if is_shown else shown):
        values[SHOWN] = earlier
    if made := [widget for widget in viewed if not before.arrivals.hold(widget)]:
        values[VIEWED] = made
    values |= figures.opened()
    left: dict[str, str] = {}
    inputs = {name for name in before.prints.keys() - values.keys() if not isinstance(before.values[name], _CODE)}
    names, kept, pairs = _pickle(values, inputs, namespace, before.arrivals, left)
    files.flush(namespace.values())  # those that stay here
    patches.watch(parcel.stores, namespace)
    state = ambient.difference(before.ambient)
    homes = (*parcel.imports.values(), *imports.values())
    problem = left.pop(VALUE, "")
    for unnamed in (figures.FIGURES, SHOWN, VIEWED):
        left.pop(unnamed, None)
    return Returned(
        names=names,
        assigned=tuple(name for name in assigned if name in kept or name in imports),
        changed=tuple(name for name in changed if name in kept or name in imports),
        deleted=deleted,
        pairs=pairs,
        imports=imports,
        reloaded=reloaded(before.specs),
        modules=submodules((found.module for found in homes), parcel.attributes),
        left_behind=left,
        state=pickle_state(state) if state else None,
        value_name=value_name if value_name in kept else None,
        value_problem=problem or left.get(value_name or "", ""),
        shown=is_shown,
        pages=tuple(pages),
        notes=tuple(before.problems),
    )


def _differences(
    namespace: Mapping[str, object], parcel: Parcel, before: Before
) -> tuple[list[str], list[str], tuple[str, ...]]:
    wanted = None if parcel.outputs is None else frozenset(parcel.outputs)
    assigned: list[str] = []
    changed: list[str] = []
    for name, value in namespace.items():
        if (is_shell_name(name) and name not in _UNDERSCORES) or (wanted is not None and name not in wanted):
            continue
        if name not in before.values or before.values[name] is not value:
            assigned.append(name)
        elif name in before.prints and fingerprint(value) != before.prints[name]:
            changed.append(name)
    gone = [name for name in before.values if name not in namespace]
    gone = [name for name in gone if not is_shell_name(name) or name in _UNDERSCORES]
    return assigned, changed, tuple(name for name in gone if wanted is None or name in wanted)


def _pickle(
    values: dict[str, object], inputs: Set[str], main: Mapping[str, object], arrivals: Arrivals, left: dict[str, str]
) -> tuple[Pickled, dict[str, object], tuple[Pair, ...]]:
    """One pickle of as many values as can travel; for the others the reason goes into `left`.

    Functions bring no data home that came from there and is as it was.
    """
    pairs: list[Pair] = []

    def noted(memo: dict[int, tuple[int, object]]) -> None:
        pairs.extend(arrivals.pairs(memo))
        files.close([thing for _, thing in memo.values()])

    words, shared = "the names of this cell", shared_memory(main)
    with contextlib.suppress(NotPicklable):
        pickled = dumps(values, label=words, at_home=inputs, anew=True, shared=shared, noted=noted, main=main)
        return pickled, values, tuple(pairs)
    kept: dict[str, object] = {}
    for name, value in values.items():
        try:
            dumps(value, label=f"`{name}`", at_home=values.keys() | inputs, anew=True)
        except NotPicklable as error:
            # What `with open(...) as file` leaves is of no use to anybody.
            left[name] = "" if isinstance(value, io.IOBase) and value.closed else str(error)
        else:
            kept[name] = value
    away = left.keys() | inputs
    pickled = dumps(kept, label=words, at_home=away, anew=True, shared=shared, noted=noted, main=main)
    for name in [name for name, reason in left.items() if not reason]:
        del left[name]
    return pickled, kept, tuple(pairs)


def value_of(returned: Returned, namespace: dict[str, object] | None = None) -> object:
    """The value of the cell's last expression, None when it had none.

    Args:
        namespace: where functions from the notebook shall live, as in `merge`.

    Raises:
        NotPicklable: it could not travel.
    """
    if returned.value_problem:
        raise NotPicklable(returned.value_problem)
    return None if returned.value_name is None else _load_dict(returned.names, namespace)[returned.value_name]


# ------------------------------------------------------------------------------------------ notebook side


@dataclass(frozen=True, slots=True)
class Merged:
    """What `merge` did.

    Attributes:
        set_names: names bound, changed in place or deleted.
        skipped: names left alone because the user has rebound them since the cell was packed.
        left_behind: names that could not travel, or not be put together here, with the reason.
        problems: imports and ambient state that could not be brought back, one line each.
    """

    set_names: tuple[str, ...]
    skipped: tuple[str, ...]
    left_behind: Mapping[str, str]
    problems: tuple[str, ...] = ()


_written: dict[tuple[int, str], tuple[int, int]] = {}
"""Which job wrote a name last: (id of the namespace, name) → (serial of its snapshot, id of the object)."""


def merge(returned: Returned, namespace: dict[str, object], sent: Snapshot | None) -> Merged:
    """Bring what a cell did into the notebook's namespace; call it between cells.

    Args:
        sent: from `pack`; without it (after a kernel restart) every name that exists counts as the user's.

    Raises:
        Exception: whatever unpickling the values raises.
    """
    sent = sent or Snapshot(0, {}, {}, {})
    out.discard(sent)
    names = (*returned.assigned, *returned.changed, *returned.deleted)
    # Before loading: functions that come back put the names they use into the namespace.
    free = {name for name in names if _is_free(name, namespace, sent)}
    problems: list[str] = []
    state: ambient.State = {}
    if returned.state is not None:  # sys.path first: what comes back may be importable only with it
        state = ambient.still(_load_dict(returned.state, namespace), sent.ambient)
        problems += ambient.apply(state, first=True)
    problems += reload_modules(returned.reloaded)
    memo: dict[int, object] = {}
    values, lost = _load_what_can(returned.names, namespace, memo.update)
    _settle_in(values, list(sent.originals.own(returned.pairs, memo)))
    figures.reopen(values.pop(figures.FIGURES, None))
    problems += bring_modules(returned.modules)
    done = []
    for name in returned.assigned:
        if name not in free or name in lost:
            continue
        if name in returned.imports:
            try:
                namespace[name] = returned.imports[name].bring()
            except (ImportError, AttributeError) as error:
                problems.append(f"{name}: {error}")
                continue
        else:
            namespace[name] = values[name]
        _note(name, namespace, sent)
        done.append(name)
    for name in returned.changed:
        if name not in free or name in lost:
            continue
        if name not in namespace or not graft(namespace[name], values[name]):
            namespace[name] = values[name]
            _note(name, namespace, sent)
        done.append(name)
    for name in returned.deleted:
        if name in free and name in namespace:
            del namespace[name]
            done.append(name)
    problems += ambient.apply(state, first=False)
    for value in cast("list[object]", values.get(SHOWN, [])):
        history.remember(value, sent.execution_count, namespace)
    if returned.shown and returned.value_name is not None and returned.value_name not in lost:
        held = namespace if returned.value_name in done else values
        history.remember(held[returned.value_name], sent.execution_count, namespace)
    history.page(returned.pages, namespace)
    skipped = tuple(name for name in names if name not in free)
    return Merged(tuple(done), skipped, {**returned.left_behind, **lost}, tuple(problems))


def _is_free(name: str, namespace: Mapping[str, object], sent: Snapshot) -> bool:
    if sent.is_original(name, namespace):
        return True
    # Not as it was: but if a job enqueued before this one wrote it, this one's turn comes now, as it would in a cell.
    serial, written = _written.get((id(namespace), name), (0, 0))
    return bool(serial) and serial <= sent.serial and name in namespace and id(namespace[name]) == written


def _note(name: str, namespace: dict[str, object], sent: Snapshot) -> None:
    _written[id(namespace), name] = (sent.serial, id(namespace[name]))


def _settle_in(values: dict[str, object], came: Iterable[tuple[object, object, bool]]) -> None:
    """Put the notebook's own objects in the place of their copies, after giving them what the cell has changed."""
    own: dict[int, object] = {}
    arrays: dict[int, tuple[object, object]] = {}
    poured = []
    for original, copy, changed in came:
        if changed and not graft(original, copy):
            continue  # its type does not allow it: the copy stands for itself
        files.close([copy])
        own[id(copy)] = original
        if isinstance(copy, ndarrays()):
            arrays[id(memory_of(copy))] = copy, original
        if changed:
            poured.append(original)
    if own:
        substitution = Substitution(own, arrays)
        for name, value in values.items():
            values[name] = substitution.put(value)
        for original in poured:
            substitution.inside(original)


def _load_what_can(
    pickled: Pickled, namespace: dict[str, object], noted: Callable[[dict[int, object]], object]
) -> tuple[dict[str, object], dict[str, str]]:
    """The values by name, and the names of those that cannot be put together, with the reason."""
    try:
        return _load_dict(pickled, namespace, noted), {}
    except Exception:
        values = _load_dict(pickled, namespace, noted, salvaging.Unpickler)
    lost = {name: found for name, value in values.items() if (found := salvaging.lost_in(value))}
    for name in [name for name, value in namespace.items() if isinstance(value, salvaging.Lost)]:
        del namespace[name]  # a function brought it
    told = {name: f"it cannot be put together here ({found})" for name, found in lost.items()}
    return {name: value for name, value in values.items() if name not in lost}, told


def _load_dict(
    pickled: Pickled,
    namespace: dict[str, object] | None,
    noted: Callable[[dict[int, object]], object] | None = None,
    unpickler: Callable[..., Any] = pickle.Unpickler,
) -> dict[str, object]:
    with figures.closed():
        loaded = loads(
            pickled.body, pickled.buffers, namespace=namespace, homeward=True, noted=noted, unpickler=unpickler
        )
    if not isinstance(loaded, dict):
        raise TypeError(f"names came back as {type(loaded).__name__}")
    return loaded
