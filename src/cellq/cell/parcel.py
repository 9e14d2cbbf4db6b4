"""A cell on its way to a slot: its source, the names it needs, and the state around it.

    notebook                                          slot
    pack(source, user_ns) ──▶ Parcel ── sealed ──▶ unpack(parcel, __main__) ──▶ Before
      └──▶ Snapshot stays here                        the cell runs
    merge(returned, user_ns, snapshot) ◀── sealed ── collect(__main__, parcel, before)

All names travel in ONE pickle, so that two names of one object are still one object there. What comes back is in
`cellq.cell.returned`.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from weakref import WeakSet, ref

from cellq import here
from cellq.cell import ambient, figures, history, patches
from cellq.cell.closure import Needs, needed
from cellq.cell.fingerprint import fingerprint
from cellq.cell.imports import Import, bring_modules, import_of, specs, submodules
from cellq.cell.names import analyse
from cellq.cell.parts import Arrivals, Originals, shared_memory
from cellq.cell.stub import refuse
from cellq.errors import NotPicklable, TooLarge
from cellq.wire import mocks
from cellq.wire.pickling import Pickled, dumps, loads

WARN_SIZE = 10 * 2**20
"""Bytes of captured values above which the largest names are told."""

MAX_SIZE = 2**30
"""Bytes of captured values above which a cell is refused; `CELLQ_MAX_INPUT` overrides."""

SMALL = 64 * 2**10
"""Bytes up to which a value goes along just because the code may look it up at run time."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A cell and all it needs, as plain values and bytes.

    Attributes:
        source: the cell's text as it runs.
        header: the lines above `source` in its notebook cell (the magic line), so that line numbers fit.
        execution_count: the number of the notebook cell, None when it has none.
        names: one pickle of all values by name.
        imports: names that are imported instead.
        modules: submodules to import for their side effect.
        attributes: attribute names that the code mentions; they tell which submodules matter.
        stores: dotted names that it assigns to; some may be attributes of modules.
        place: pickled ambient state that is needed to unpickle (directory, environment, sys.path).
        state: pickled ambient state that is applied afterwards.
        outputs: names wanted back; None for all, () for none.
    """

    source: str
    header: str
    execution_count: int | None
    names: Pickled
    imports: Mapping[str, Import]
    modules: tuple[str, ...]
    attributes: frozenset[str]
    stores: frozenset[str]
    place: Pickled
    state: Pickled
    outputs: tuple[str, ...] | None


@dataclass(eq=False, slots=True, weakref_slot=True)
class Snapshot:
    """What the notebook held when a cell was packed; stays in the kernel and decides what may be overwritten.

    An object is held weakly where its type allows it, so that waiting for a job keeps no array alive.
    """

    serial: int
    ids: dict[str, int] = field(repr=False)
    held: dict[str, object] = field(repr=False)
    ambient: ambient.State = field(repr=False)
    originals: Originals = field(default_factory=Originals, repr=False)
    execution_count: int | None = None

    def original(self, name: str) -> object:
        """The object that `name` was bound to then; None when it is gone."""
        kept = self.held.get(name)
        return kept() if isinstance(kept, ref) else kept

    def is_original(self, name: str, namespace: Mapping[str, object]) -> bool:
        """True while `name` is bound to the same object as then, or is unbound as it was then."""
        if name not in self.ids or name not in namespace:
            return name not in self.ids and name not in namespace
        if name in self.held:
            return self.original(name) is namespace[name]
        return id(namespace[name]) == self.ids[name]


@dataclass(frozen=True, slots=True)
class Packed:
    """What `pack` gives: the parcel to send, the snapshot to keep, warnings for people, bytes per name (when large)."""

    parcel: Parcel
    snapshot: Snapshot
    warnings: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)


_serials = itertools.count(1)

out: WeakSet[Snapshot] = WeakSet()
"""Snapshots of the cells that have not come back; `merge` takes them off, and so does letting go of one."""


def pack(
    source: str,
    namespace: Mapping[str, object],
    outputs: Iterable[str] | None = None,
    execution_count: int | None = None,
    *,
    header: str = "",
    skip: Iterable[str] = (),
    limit: int | None = None,
) -> Packed:
    """Pack a cell with what it needs of the notebook, as it is right now.

    Args:
        source: the cell's text without the line that enqueues it.
        namespace: the notebook's namespace; it is not changed.
        outputs: names that are to come back; None for all, () for none.
        execution_count: the number shown at the cell.
        header: what stands above `source` in the notebook cell, with its line ends.
        skip: names that do not travel (the name of the job itself).
        limit: bytes of captured values that are allowed; default `CELLQ_MAX_INPUT`, then 1 GiB.

    Raises:
        SyntaxError: the cell could not run.
        NotPicklable: a value that the cell reads cannot travel; names the variable and the path inside it.
        TooLarge: the captured values are over the limit; lists the largest.
    """
    skipped = frozenset(skip)
    names = analyse(source, flags=_future_flags())
    needs = needed(names, namespace)
    imports: dict[str, Import] = {}
    values = history.inputs(_without_imports(needs.values, imports, skipped))
    extras = history.inputs(_without_imports(needs.extras, imports, skipped))
    small = _without_imports(needs.small, imports, skipped)
    refuse(values)
    values |= _portable(small, SMALL) | _portable(figures.opened(), figures.LARGEST)
    values |= _portable(history.failure(needs.attributes | names.words | names.magics), SMALL)
    originals = Originals()
    try:  # as a rule all of them travel
        pickled = _dump({**values, **extras}, originals, namespace)
        values |= extras
    except NotPicklable:
        values |= _portable(extras)
        pickled = _pickle(values, originals, namespace)
    sizes = _audit(pickled, values, limit)
    patches.watch(history.stores(namespace), namespace, done=True)
    patches.watch(names.stores, namespace)
    now = ambient.capture()
    sent = ambient.outgoing(now, [snapshot.ambient for snapshot in out])
    firsts = {name for name, provider in ambient.providers().items() if provider.first}
    parcel = Parcel(
        source=source,
        header=header,
        execution_count=execution_count,
        names=pickled,
        imports=imports,
        modules=submodules((found.module for found in imports.values()), needs.attributes),
        attributes=needs.attributes,
        stores=names.stores,
        place=dumps({name: value for name, value in sent.items() if name in firsts}, label="ambient state"),
        state=pickle_state({name: value for name, value in sent.items() if name not in firsts}),
        outputs=None if outputs is None else tuple(outputs),
    )
    warnings = [f"nothing defines {', '.join(sorted(needs.missing - skipped))}"] if needs.missing - skipped else []
    if sizes:
        warnings.append(f"{_mib(sum(sizes.values()))} travel with this cell: {_listing(sizes)}")
    snapshot = _snapshot(namespace, needs, now, originals, execution_count)
    out.add(snapshot)
    return Packed(parcel, snapshot, tuple(warnings), sizes)


def _future_flags() -> int:
    shell = here.shell()
    return int(shell.compile.flags) if shell is not None else 0


def _without_imports(
    values: Mapping[str, object], imports: dict[str, Import], skipped: frozenset[str]
) -> dict[str, object]:
    kept = {}
    for name, value in values.items():
        if name in skipped:
            continue
        found = import_of(name, value)
        if found is None:
            kept[name] = value
        else:
            imports[name] = found
    return kept


def _portable(values: Mapping[str, object], limit: int | None = None) -> dict[str, object]:
    """Those that can be pickled, each within `limit` bytes."""
    kept = {}
    for name, value in values.items():
        # (A mock would take note that it was asked.)
        if limit is not None and not mocks.is_double(value) and sys.getsizeof(value, 0) > limit:
            continue
        try:
            pickled = dumps(value, label=f"`{name}`", anew=True)
        except NotPicklable:
            continue
        if limit is None or size_of(pickled) <= limit:
            kept[name] = value
    return kept


def _pickle(values: Mapping[str, object], originals: Originals, main: Mapping[str, object]) -> Pickled:
    try:
        return _dump(values, originals, main)
    except NotPicklable:
        for name, value in values.items():  # which one is it?
            dumps(value, label=f"`{name}`", anew=True)
        raise


def _dump(values: Mapping[str, object], originals: Originals, main: Mapping[str, object]) -> Pickled:
    words, shared = "the names of this cell", shared_memory(values)
    return dumps(dict(values), label=words, anew=True, shared=shared, noted=originals.take, main=main)


def pickle_state(state: ambient.State) -> Pickled:
    """One pickle of as much ambient state as can travel."""
    try:
        return dumps(state, label="ambient state", anew=True)
    except NotPicklable:
        return dumps(_portable(state), label="ambient state", anew=True)


def size_of(pickled: Pickled) -> int:
    """Bytes of a pickle with its buffers."""
    return len(pickled.body) + sum(memoryview(buffer).nbytes for buffer in pickled.buffers)


def _audit(pickled: Pickled, values: Mapping[str, object], limit: int | None) -> dict[str, int]:
    allowed = int(os.environ.get("CELLQ_MAX_INPUT", MAX_SIZE)) if limit is None else limit
    total = size_of(pickled)
    if total <= min(WARN_SIZE, allowed):
        return {}
    each = {name: size_of(dumps(value, label=f"`{name}`", anew=True)) for name, value in values.items()}
    sizes = dict(sorted(each.items(), key=lambda item: -item[1])[:5])
    if total > allowed:
        raise TooLarge(
            f"this cell would take {_mib(total)} along, and {_mib(allowed)} are allowed (CELLQ_MAX_INPUT): "
            f"{_listing(sizes)}. Save large data to a file and read it in the cell, or raise the limit."
        )
    return sizes


def _listing(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {_mib(size)}" for name, size in sizes.items())


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 // 10 else f"{size} bytes"


def _snapshot(
    namespace: Mapping[str, object],
    needs: Needs,
    state: ambient.State,
    originals: Originals,
    execution_count: int | None,
) -> Snapshot:
    held: dict[str, object] = {}
    for name in (*needs.values, *needs.extras, *needs.small, *needs.writes):
        if name in namespace and name not in held:
            value = namespace[name]
            try:
                held[name] = ref(value)
            except TypeError:
                held[name] = value
    ids = {name: id(value) for name, value in namespace.items()}
    return Snapshot(next(_serials), ids, held, state, originals, execution_count)


@dataclass(slots=True)
class Before:
    """The job's namespace as it was before the cell ran.

    Attributes:
        values: what each name was bound to.
        prints: fingerprints of those that can be changed in place.
        arrivals: the objects that came, also those inside of others.
        specs: of the modules that are imported.
        ambient: the state around, as applied.
        problems: ambient state that could not be applied, for people.
    """

    values: dict[str, object]
    prints: dict[str, int]
    arrivals: Arrivals
    specs: dict[str, object]
    ambient: ambient.State
    problems: list[str]


def unpack(parcel: Parcel, namespace: dict[str, object]) -> Before:
    """Put a parcel's names and state in force; `namespace` is the `__dict__` of this process's `__main__`.

    Raises:
        ImportError: a module or an attribute is missing here.
        Exception: whatever unpickling the values raises.
    """
    place = _load_dict(parcel.place)
    problems = ambient.apply(place, first=True)
    imported = {}
    for name, wanted in parcel.imports.items():
        try:
            imported[name] = wanted.bring()
        except AttributeError as error:
            raise ImportError(f"{name}: {error}") from error
    problems += bring_modules(parcel.modules)
    arrivals = Arrivals()
    values = _load_dict(parcel.names, namespace, arrivals.take if parcel.outputs != () else None)
    figures.reopen(values.pop(figures.FIGURES, None))
    history.fail(values.pop(history.FAILURE, None))
    namespace.update(values)
    namespace.update(imported)
    state = _load_dict(parcel.state, namespace)
    problems += ambient.apply(state, first=False)
    patches.watch(parcel.stores, namespace, importing=True)
    watched = values if parcel.outputs is None else {name: values[name] for name in parcel.outputs if name in values}
    return Before(
        values=dict(namespace),
        prints={name: found for name, value in watched.items() if (found := fingerprint(value)) is not None},
        arrivals=arrivals,
        specs=specs(),
        ambient={**state, **ambient.capture()},
        problems=problems,
    )


def _load_dict(
    pickled: Pickled,
    namespace: dict[str, object] | None = None,
    noted: Callable[[dict[int, object]], object] | None = None,
) -> dict[str, object]:
    with figures.closed():
        loaded = loads(pickled.body, pickled.buffers, namespace=namespace, noted=noted)
    if not isinstance(loaded, dict):
        raise TypeError(f"a parcel holds names, not {type(loaded).__name__}")
    return loaded
