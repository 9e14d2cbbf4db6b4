"""Why a value cannot travel: which variable holds the thing, and where inside it.

The pickler knows *what* it stopped at; a walk through the value finds *where* that is, breadth first, so that the
shortest path is told:

    argument `cfg`: cfg['db'].lock is a _thread.lock
    function `train` uses the global `sock`, a socket.socket

The walk takes the turns that the pickler takes, looks at each object once, and gives up after a while.
"""

from __future__ import annotations

import inspect
import io
import time
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cellq.wire.reducing import Pickler, anatomy, by_value
from cellq.wire.standins import InUse

_MOST_OBJECTS = 100_000
_MOST_SECONDS = 3.0
_LONGEST = 60


class Step(NamedTuple):
    """One turn of a path.

    Attributes:
        kind: "[" or "."; a phrase that starts anew, as in "uses the global"; "" for a turn not worth telling.
        owner: the object of a library whose private attribute this is.
    """

    kind: str
    text: str = ""
    owner: object = None


def explain(value: object, culprit: object, error: BaseException, label: str | Callable[..., object]) -> str:
    """The message for a value that could not be pickled.

    Args:
        culprit: what the pickler stopped at, None when it is not known.
        label: as for `pickling.dumps`.
    """
    try:
        where = _where(value, culprit, error, label)
    except Exception:  # the user's objects may raise whatever we ask them
        where = f"{title(value, label)}: {_short(str(error))}"
    return f"Cannot send {where}. Make it inside the job, or leave it out of what the job uses."


def title(value: object, label: str | Callable[..., object]) -> str:
    """What a value is called when nothing better is known."""
    if callable(label):
        return f"the arguments of `{getattr(label, '__name__', 'the function')}`"
    if label:
        return label
    if isinstance(value, types.FunctionType):
        return f"function `{value.__name__}`"
    return f"a {_type_name(value)}"


def _where(value: object, culprit: object, error: BaseException, label: str | Callable[..., object]) -> str:
    roots = list(_roots(value, label))
    found = _find(roots, culprit) if culprit is not None else None
    if found is None:
        for name, root in roots:
            if not _travels(root):
                return f"{name}: {_short(str(error))}"
        return f"{title(value, label)}: {_short(str(error))}"
    name, path = found
    return _render(name, path, culprit, str(error) if isinstance(error, InUse) else _kind(culprit))


def _roots(value: Any, label: str | Callable[..., object]) -> Iterator[tuple[str, object]]:
    """The variables in a value, by name."""
    if callable(label):
        args, kwargs = value
        names = _parameters(label, len(args))
        yield from ((f"argument `{name}`", item) for name, item in zip(names, args, strict=True))
        yield from ((f"argument `{name}`", item) for name, item in kwargs.items())
    elif not label and type(value) is dict and all(type(key) is str for key in value):
        yield from ((f"variable `{name}`", item) for name, item in value.items())
    else:
        yield title(value, label), value


def _parameters(func: Callable[..., object], count: int) -> list[str]:
    """Names for positional arguments: the function's own, else their numbers."""
    names: list[str] = []
    try:
        for parameter in inspect.signature(func).parameters.values():
            if parameter.kind is parameter.VAR_POSITIONAL:
                names += [f"{parameter.name}[{index}]" for index in range(count - len(names))]
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                names.append(parameter.name)
    except (TypeError, ValueError):  # made in C, or made up
        names = []
    return (names + [str(index + 1) for index in range(len(names), count)])[:count]


# ------------------------------------------------------------------------------------------------ walk


def _find(roots: list[tuple[str, object]], culprit: object) -> tuple[str, list[Step]] | None:
    """The shortest way from a variable to the culprit."""
    came: dict[int, tuple[int | None, Step | None, str]] = {}
    line: deque[object] = deque()
    seen: list[object] = []  # ids are only good while their objects live
    end = time.monotonic() + _MOST_SECONDS

    def meet(thing: object, parent: int | None, step: Step | None, name: str) -> None:
        if id(thing) not in came:
            came[id(thing)] = (parent, step, name)
            seen.append(thing)
            line.append(thing)

    for name, root in roots:
        meet(root, None, None, name)
    while line:
        thing = line.popleft()
        if thing is culprit:
            return _path(came, id(thing))
        try:
            for step, child in _children(thing):
                meet(child, id(thing), step, "")
                if len(came) > _MOST_OBJECTS or time.monotonic() > end:
                    return None
        except Exception:  # an object that raises whatever it is asked
            continue
    return None


def _path(came: dict[int, tuple[int | None, Step | None, str]], at: int) -> tuple[str, list[Step]]:
    steps: list[Step] = []
    while True:
        parent, step, name = came[at]
        if parent is None or step is None:
            return name, steps[::-1]
        steps.append(step)
        at = parent


_ATOMS = (int, float, complex, str, bytes, bytearray, bool, type(None), range)


def _children(thing: Any) -> Iterator[tuple[Step, object]]:
    kind = type(thing)
    if kind in _ATOMS:
        return
    if isinstance(thing, dict):
        for key, value in list(thing.items()):
            yield Step("[", _short(_say(key))), value
        yield from ((Step("has the key", _short(_say(key))), key) for key in list(thing) if type(key) not in _ATOMS)
    elif isinstance(thing, list | tuple | deque):
        yield from ((Step("[", str(index)), item) for index, item in enumerate(list(thing)))
    elif isinstance(thing, set | frozenset):
        yield from ((Step(""), item) for item in list(thing))
    if kind is types.FunctionType:
        yield from _of_function(thing)
    elif kind is types.MethodType:
        yield Step(".", "__self__"), thing.__self__
        yield Step(".", "__func__"), thing.__func__
    elif kind is types.ModuleType:
        if by_value(thing):
            yield from ((Step(".", name), value) for name, value in list(vars(thing).items()))
    elif isinstance(thing, type):
        if by_value(thing):
            yield from ((Step(".", name), value) for name, value in list(vars(thing).items()))
            yield from ((Step("derives from", base.__name__), base) for base in thing.__bases__)
    else:
        yield from _of_instance(thing)


def _of_function(func: types.FunctionType) -> Iterator[tuple[Step, object]]:
    if not by_value(func):
        return
    for name in anatomy(func.__code__).uses:
        if name in func.__globals__:
            yield Step("uses the global", name), func.__globals__[name]
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
        try:
            yield Step("uses the outer variable", name), cell.cell_contents
        except ValueError:  # empty
            continue
    count = func.__code__.co_argcount
    defaults = func.__defaults__ or ()
    names = func.__code__.co_varnames[count - len(defaults) : count]
    yield from ((Step("has the default", name), value) for name, value in zip(names, defaults, strict=False))
    yield from ((Step("has the default", name), value) for name, value in (func.__kwdefaults__ or {}).items())
    yield from ((Step(".", name), value) for name, value in vars(func).items())


def _of_instance(thing: Any) -> Iterator[tuple[Step, object]]:
    known = getattr(thing, "__dict__", None)
    library = not by_value(type(thing))
    if isinstance(known, dict):
        for name, value in list(known.items()):
            private = isinstance(name, str) and name.startswith("_")
            yield Step(".", str(name), thing if library and private else None), value
    for cls in type(thing).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if isinstance(name, str) and name not in ("__dict__", "__weakref__"):
                value = getattr(thing, name, None)
                yield Step(".", name), value
    yield Step(""), type(thing)
    for name in ("func", "args", "keywords", "__wrapped__", "fget", "fset", "fdel", "__func__", "cell_contents"):
        if not isinstance(known, dict) or name not in known:
            try:
                yield Step(".", name), getattr(thing, name)
            except (AttributeError, ValueError):
                continue
    # What its own __reduce__ gives away is what the pickler saw; parts of it may be reachable in no other way.
    try:
        reduced = thing.__reduce_ex__(5)
    except Exception:
        return
    if isinstance(reduced, tuple):
        yield from ((Step(""), part) for part in reduced[1:3] if part is not None)
        if len(reduced) > 3:
            yield from ((Step(""), item) for part in reduced[3:5] if part is not None for item in part)


def _travels(value: object) -> bool:
    try:
        Pickler(io.BytesIO(), lambda buffer: None).dump(value)
    except Exception:
        return False
    return True


# ----------------------------------------------------------------------------------------------- words


def _render(name: str, path: list[Step], culprit: object, what: str) -> str:
    """The sentence: a chain of clauses, each an expression over the variable that the one before arrived at."""
    variable = name.rpartition("`")[0].rpartition("`")[2] or "it"
    said, clause, expression = "", name, variable
    for step in path:
        if step.owner is not None:  # the inside of a library's object means nothing to its user
            what = f"{_kind(step.owner)}, which holds {what}"
            break
        if step.kind == ".":
            expression = f"{expression}.{step.text}"
        elif step.kind == "[":
            expression = f"{expression}[{step.text}]"
        elif step.kind:
            inner = "" if expression == variable else f": {expression}"
            said += f"{clause}{inner} {step.kind} `{step.text}`"
            clause, expression, variable = ", which", step.text, step.text
    if not said:
        return f"{name}: {'it' if expression == variable else expression} is {what}"
    return f"{said}, {what}" if expression == variable else f"{said}: {expression} is {what}"


def _kind(thing: object) -> str:
    """What a thing is, with an article. Asks its type: the thing itself may raise at every question."""
    cls: type = type(thing)
    if issubclass(cls, io.IOBase):
        state = "a closed" if getattr(thing, "closed", False) else "an open"
        return f"{state} file ({_short(_say(getattr(thing, 'name', '')))})"
    if issubclass(cls, types.FunctionType | types.BuiltinFunctionType):
        return f"the function {getattr(thing, '__qualname__', '')}, which pickle does not find by that name"
    if issubclass(cls, type):
        return f"the class {getattr(thing, '__qualname__', '')}"
    name = _type_name(thing)
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _type_name(thing: object) -> str:
    cls = type(thing)
    return cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"


def _say(thing: object) -> str:
    try:
        return repr(thing)
    except Exception:  # the user's own __repr__
        return f"<{_type_name(thing)}>"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
