"""Exceptions that survive the trip, or degrade to text; nothing here raises because of a user's exception.

Three forms of one exception:

    describe ──▶ Failure          plain text, for everyone; read without unpickling anything
    carry    ──▶ tuples of bytes  each class, argument and attribute pickled on its own: one that cannot travel is lost
    rebuild  ──▶ the exception    made without calling its `__init__`, which may want other arguments than `args`
"""

from __future__ import annotations

import traceback as tracebacks
from typing import Any

from cellq.errors import NotPicklable
from cellq.message import Failure
from cellq.wire import pickling, rebuilding
from cellq.wire.reducing import exception_parts

_MOST_LINKED = 100
_LONGEST_MESSAGE = 4_000

_Part = bytes | None
_Node = tuple[_Part, tuple[_Part, ...], dict[str, bytes], bool, int, int, tuple[int, ...]]
# class, args, attributes, __suppress_context__, places of __cause__, __context__ and of a group's members (-1: none)


def describe(error: BaseException, *, cause: str = "exception", traceback: str = "") -> Failure:
    """What happened, as text.

    Args:
        cause: one of `Failure.cause`.
        traceback: as formatted already; made from the exception, with those it was raised from, when empty.
    """
    types = [cls for cls in type(error).__mro__ if issubclass(cls, BaseException)]
    return Failure(
        cause=cause,
        types=tuple(f"{cls.__module__}.{cls.__qualname__}" for cls in types),
        message=_message(error),
        traceback=traceback or _format(error),
    )


def _message(error: BaseException) -> str:
    name = type(error).__qualname__
    try:
        text = str(error)
    except Exception:
        return f"{name}: <its text cannot be read: __str__ raised>"
    if len(text) > _LONGEST_MESSAGE:
        text = text[: _LONGEST_MESSAGE - 1] + "…"
    return f"{name}: {text}" if text else name


def _format(error: BaseException) -> str:
    try:
        return "".join(tracebacks.format_exception(error))
    except Exception:
        return _message(error)


def carry(error: BaseException) -> object:
    """The exception in a form that always pickles: with its arguments, attributes, notes, causes and group members."""
    nodes: list[_Node] = []
    places: dict[int, int] = {}
    # Depth first, each exception once: contexts can form circles.
    line = [error]
    found: list[BaseException] = []
    while line and len(found) < _MOST_LINKED:
        one = line.pop()
        if id(one) in places:
            continue
        places[id(one)] = len(found)
        found.append(one)
        line += [linked for linked in (*_members(one), one.__context__, one.__cause__) if linked is not None]
    for one in found:
        nodes.append(_node(one, places))
    return tuple(nodes)


def _members(error: BaseException) -> tuple[BaseException, ...]:
    return tuple(error.exceptions) if isinstance(error, BaseExceptionGroup) else ()


def _node(error: BaseException, places: dict[int, int]) -> _Node:
    try:
        args, state = exception_parts(error)
    except Exception:  # the exception's own machinery may be broken in any way
        args, state = error.args, {}
    if isinstance(error, BaseExceptionGroup):
        args = (error.message,)
    attributes = {name: data for name, value in state.items() if (data := _pack(value)) is not None}
    return (
        _pack(type(error)),
        tuple(_pack(arg) for arg in args),
        attributes,
        error.__suppress_context__,
        places.get(id(error.__cause__), -1),
        places.get(id(error.__context__), -1),
        tuple(places.get(id(member), -1) for member in _members(error)),
    )


def _pack(value: object) -> _Part:
    try:
        return pickling.pack(value)
    except NotPicklable:
        return None


def rebuild(carried: object, *, namespace: dict[str, Any] | None = None) -> BaseException | None:
    """The exception again, or None where its class cannot be had. Arguments that could not travel are None.

    Args:
        carried: what `carry` gave, after its way through `dumps` and `loads`.
        namespace: as for `pickling.loads`.
    """
    if not isinstance(carried, tuple):
        return None
    made: dict[int, BaseException | None] = {}
    for place in reversed(range(len(carried))):  # a group's members stand behind it
        try:
            made[place] = _make(carried[place], made, namespace)
        except Exception:
            made[place] = None
    for place, new in made.items():
        if new is not None:
            _, _, _, suppress, cause, context, _ = carried[place]
            new.__cause__, new.__context__ = made.get(cause), made.get(context)
            new.__suppress_context__ = suppress
    return made.get(0)


def _make(node: Any, made: dict[int, BaseException | None], namespace: dict[str, Any] | None) -> BaseException | None:
    kind, packed, attributes, _, _, _, members = node
    cls = _unpack(kind, namespace)
    if not (isinstance(cls, type) and issubclass(cls, BaseException)):
        return None
    args = tuple(_unpack(arg, namespace) for arg in packed)
    if issubclass(cls, BaseExceptionGroup):
        args = (*args, [member for place in members if (member := made.get(place)) is not None])
    try:
        new = rebuilding.exception(cls, args)
    except Exception:  # arguments that its builtin base does not take
        new = rebuilding.builtin_base(cls).__new__(cls)
        new.args = args
    loaded = {name: value for name, data in attributes.items() if (value := _unpack(data, namespace)) is not _LOST}
    rebuilding.fill_exception(new, loaded)
    return new


_LOST = object()


def _unpack(data: _Part, namespace: dict[str, Any] | None) -> Any:
    if data is None:
        return None
    try:
        return pickling.loads(data, namespace=namespace, homeward=True)
    except Exception:  # a class or module that is not here, or a __setstate__ that raises
        return _LOST
