"""What a cell did to its names, on the way back into the notebook.

slot: collect(...)                                notebook: merge(...)
  assigned   names bound anew                       bound, unless the user has rebound them meanwhile
  changed    objects changed in place               poured into the object the notebook holds (cellq.cell.grafting)
  deleted    names gone                             deleted, unless rebound
  mentioned  unchanged inputs that a returned       replaced by the notebook's own object, so that
             value refers to                        `result["data"] is df` stays true
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from cellq.cell import ambient
from cellq.cell.fingerprint import fingerprint
from cellq.cell.grafting import Substitution, graft, mentions
from cellq.cell.imports import Import, bring_modules, import_of, submodules
from cellq.cell.names import is_shell_name
from cellq.cell.parcel import Before, Parcel, Snapshot, out
from cellq.errors import NotPicklable
from cellq.wire.pickling import Pickled, dumps, loads


@dataclass(frozen=True, slots=True)
class Returned:
    """What comes back from a cell, as plain values and bytes.

    Attributes:
        names: one pickle of a dict: assigned, changed and mentioned values by name.
        assigned, changed, deleted: see above.
        imports: assigned names that are imported instead.
        modules: submodules that the cell imported or mentions.
        left_behind: names whose value cannot travel, with the reason.
        state: pickled ambient state that the cell changed.
        has_value: the cell ended with an expression whose value is not None.
        value: that value pickled; None when it is the value of the name `value_name`, or when it cannot travel.
        value_name: the name that holds that very value, "" for none.
        value_problem: why the value cannot travel, "" when it can.
        notes: what people should know, one line each.
    """

    names: Pickled
    assigned: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    imports: Mapping[str, Import] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    left_behind: Mapping[str, str] = field(default_factory=dict)
    state: Pickled | None = None
    has_value: bool = False
    value: Pickled | None = None
    value_name: str = ""
    value_problem: str = ""
    notes: tuple[str, ...] = ()

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


def collect(namespace: Mapping[str, object], parcel: Parcel, before: Before, value: object = None) -> Returned:
    """What the cell did, as it can travel. Never raises because of a value.

    Args:
        namespace: the `__dict__` of this process's `__main__`, after the cell.
        value: what the last expression gave, None for nothing.
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
    left: dict[str, str] = {}
    inputs = {name: before.values[name] for name in before.prints if name not in values}
    mentioned = {name: inputs[name] for name in mentions(values.values(), inputs)}
    names, kept = _pickle(values, mentioned, left)
    state = ambient.difference(before.ambient)
    homes = (*parcel.imports.values(), *imports.values())
    returned = Returned(
        names=names,
        assigned=tuple(name for name in assigned if name in kept or name in imports),
        changed=tuple(name for name in changed if name in kept or name in imports),
        deleted=deleted,
        imports=imports,
        modules=submodules((found.module for found in homes), parcel.attributes),
        left_behind=left,
        state=_pickle_state(state) if state else None,
        notes=tuple(before.problems),
    )
    return returned if value is None else _with_value(returned, value, kept)


def _differences(
    namespace: Mapping[str, object], parcel: Parcel, before: Before
) -> tuple[list[str], list[str], tuple[str, ...]]:
    wanted = None if parcel.outputs is None else frozenset(parcel.outputs)
    assigned: list[str] = []
    changed: list[str] = []
    for name, value in namespace.items():
        if is_shell_name(name) or (wanted is not None and name not in wanted):
            continue
        if name not in before.values or before.values[name] is not value:
            assigned.append(name)
        elif name in before.prints and fingerprint(value) != before.prints[name]:
            changed.append(name)
    gone = [name for name in before.values if name not in namespace and not is_shell_name(name)]
    return assigned, changed, tuple(name for name in gone if wanted is None or name in wanted)


def _pickle(
    values: dict[str, object], mentioned: Mapping[str, object], left: dict[str, str]
) -> tuple[Pickled, dict[str, object]]:
    """One pickle of as many values as can travel; for the others the reason goes into `left`."""
    try:
        return dumps({**mentioned, **values}, label="the names of this cell"), values
    except NotPicklable:
        pass
    kept = {}
    for name, value in values.items():
        try:
            dumps(value, label=f"`{name}`")
        except NotPicklable as error:
            # What `with open(...) as file` leaves is of no use to anybody.
            if not (isinstance(value, io.IOBase) and value.closed):
                left[name] = str(error)
        else:
            kept[name] = value
    names = {name: mentioned[name] for name in mentions(kept.values(), mentioned)}
    return dumps({**names, **kept}, label="the names of this cell"), kept


def _pickle_state(state: ambient.State) -> Pickled:
    try:
        return dumps(state, label="ambient state")
    except NotPicklable:
        kept = {}
        for name, value in state.items():
            try:
                dumps(value, label=f"`{name}`")
            except NotPicklable:
                continue
            kept[name] = value
        return dumps(kept, label="ambient state")


def _with_value(returned: Returned, value: object, kept: Mapping[str, object]) -> Returned:
    for name, held in kept.items():
        if held is value:
            return replace(returned, has_value=True, value_name=name)
    try:
        return replace(returned, has_value=True, value=dumps(value, label="the value of the last expression"))
    except NotPicklable as error:
        return replace(returned, has_value=True, value_problem=str(error))


def value_of(returned: Returned, namespace: dict[str, object] | None = None) -> object:
    """The value of the cell's last expression, None when it had none.

    Args:
        namespace: where functions from the notebook shall live, as in `merge`.

    Raises:
        NotPicklable: it could not travel.
    """
    if returned.value_problem:
        raise NotPicklable(returned.value_problem)
    if returned.value_name:
        return _load_dict(returned.names, namespace)[returned.value_name]
    return (
        None
        if returned.value is None
        else loads(returned.value.body, returned.value.buffers, namespace=namespace, homeward=True)
    )


# ------------------------------------------------------------------------------------------ notebook side


@dataclass(frozen=True, slots=True)
class Merged:
    """What `merge` did.

    Attributes:
        set_names: names bound, changed in place or deleted.
        skipped: names left alone because the user has rebound them since the cell was packed.
        left_behind: names that could not travel, with the reason.
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
    values = _load_dict(returned.names, namespace)
    own = _originals(values, namespace, sent, set(returned.assigned))
    values = Substitution(values, own, returned.changed).result
    problems += bring_modules(returned.modules)
    done = []
    for name in returned.assigned:
        if name not in free:
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
        if name not in free:
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
    skipped = tuple(name for name in names if name not in free)
    return Merged(tuple(done), skipped, returned.left_behind, tuple(problems))


def _is_free(name: str, namespace: Mapping[str, object], sent: Snapshot) -> bool:
    if sent.is_original(name, namespace):
        return True
    # Not as it was: but if a job enqueued before this one wrote it, this one's turn comes now, as it would in a cell.
    serial, written = _written.get((id(namespace), name), (0, 0))
    return bool(serial) and serial < sent.serial and name in namespace and id(namespace[name]) == written


def _note(name: str, namespace: dict[str, object], sent: Snapshot) -> None:
    _written[id(namespace), name] = (sent.serial, id(namespace[name]))


def _originals(
    values: Mapping[str, object], namespace: Mapping[str, object], sent: Snapshot, assigned: Iterable[str]
) -> dict[int, object]:
    """For each input that came back: its copy's id → the object the notebook holds."""
    own: dict[int, object] = {}
    for name, value in values.items():
        if name in assigned or not sent.is_original(name, namespace) or name not in namespace:
            continue
        own[id(value)] = namespace[name]
    return own


def _load_dict(pickled: Pickled, namespace: dict[str, object] | None) -> dict[str, object]:
    loaded = loads(pickled.body, pickled.buffers, namespace=namespace, homeward=True)
    if not isinstance(loaded, dict):
        raise TypeError(f"names came back as {type(loaded).__name__}")
    return loaded
