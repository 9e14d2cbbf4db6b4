"""What a notebook's names hold, as short texts that are the same in two kernels where the values are the same.

It runs inside the kernel, by `runpy`, so that it leaves no name there; it imports nothing but the standard library,
and calls nothing of the user's (no `__repr__`, no property). Memory addresses, the order of sets and what only a
process can have (locks, open files) do not count.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

_DEPTH = 12
_LONGEST = 3_000
_BUDGET = 20_000  # objects looked at per name
_PLAIN = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis), range)
_HISTORY = re.compile(r"_+|_i+|_i?\d+|_dh|_[io]h|_exit_code")
_SHELLS = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open"})


def names(space: dict[str, Any], hidden: Any) -> dict[str, str]:
    """A digest for each of the user's names; of a second name for one object, that it is one.

    Args:
        hidden: the names that the shell has put there.
    """
    found: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, value in sorted(space.items()):
        if name in hidden or name in _SHELLS or name.startswith("__") or _HISTORY.fullmatch(name):
            continue
        if _mutable(value) and first.setdefault(id(value), name) != name:
            found[name] = f"is {first[id(value)]}"
        else:
            found[name] = digest(value)
    for name in ("_", "__", "___"):
        if name in space:
            found[name] = digest(space[name])
    for number, value in space.get("Out", {}).items():
        found[f"Out[{number}]"] = digest(value)
    return found


def _mutable(value: Any) -> bool:
    return not isinstance(value, (*_PLAIN, tuple, frozenset, types.ModuleType))


def _scalars() -> Any:
    """NumPy's numbers and texts, which cannot change either."""
    numpy = sys.modules.get("numpy")
    return (numpy.number, numpy.bool_, numpy.str_) if numpy is not None else ()


def digest(value: Any) -> str:
    """The type, and what it holds: the text itself when short, else a hash."""
    text = _Look().say(value, 0)
    return (
        text
        if len(text) <= _LONGEST
        else f"{text[:_LONGEST]}… {hashlib.md5(text.encode('utf-8', 'replace')).hexdigest()}"
    )


class _Look:
    def __init__(self) -> None:
        self.left = _BUDGET
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []  # ids are only good while their objects live

    def say(self, value: Any, depth: int) -> str:
        kind = type(value)
        if kind in _PLAIN:
            return repr(value)
        name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.").removeprefix("__main__.")
        if isinstance(value, (tuple, frozenset, *_scalars())):  # equal ones may be one or two
            return self.inside(value, kind, name, depth + 1) if depth <= _DEPTH else name
        if id(value) in self.seen:
            return f"#{self.seen[id(value)]}"
        self.left -= 1
        if depth > _DEPTH or self.left < 0:
            return name
        self.seen[id(value)] = len(self.seen)
        self.kept.append(value)
        return self.inside(value, kind, name, depth + 1)

    def inside(self, value: Any, kind: type, name: str, depth: int) -> str:
        if isinstance(value, types.ModuleType):
            return f"module {value.__name__}"
        if isinstance(value, type):
            return self.of_class(value, depth) if value.__module__ == "__main__" else f"class {value.__qualname__}"
        if isinstance(value, types.FunctionType):
            return self.of_function(value, depth)
        if isinstance(value, staticmethod | classmethod):
            return f"{name} {self.say(value.__func__, depth)}"
        if isinstance(value, types.MethodType):
            home = type(value.__self__).__module__
            owner = self.say(value.__self__, depth) if home == "__main__" else home
            return f"method {value.__func__.__qualname__} of {owner}"
        if isinstance(value, types.BuiltinFunctionType | types.BuiltinMethodType):
            return f"builtin {value.__qualname__}"
        if isinstance(value, functools.partial):
            return f"partial {self.say((value.func, value.args, value.keywords), depth)}"
        if isinstance(value, io.IOBase | types.GeneratorType | types.CoroutineType):
            return name
        for suits, look in _LIBRARIES:
            if str(kind.__module__).partition(".")[0] == suits:
                text = look(self, value, depth)
                if text is not None:
                    return f"{name} {text}"
        return name + self.content(value, depth) + self.attributes(value, depth)

    def content(self, value: Any, depth: int) -> str:
        if isinstance(value, dict):
            items = list((OrderedDict if isinstance(value, OrderedDict) else dict).items(value))
            return "{" + ", ".join(f"{self.say(k, depth)}: {self.say(v, depth)}" for k, v in items) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(self.say(item, depth) for item in list.__iter__(value)) + "]"
        if isinstance(value, tuple):
            return "(" + ", ".join(self.say(item, depth) for item in tuple.__iter__(value)) + ")"
        if isinstance(value, set | frozenset):
            return "{" + ", ".join(sorted(_Look().say(item, depth) for item in value)) + "}"
        if isinstance(value, bytearray | memoryview):
            return repr(bytes(value))
        if isinstance(value, _PLAIN):
            base = next(kind for kind in _PLAIN if isinstance(value, kind))
            return f"({base.__repr__(value)})" if base is not type(None) else ""
        if type(value).__module__ in _READABLE:
            return _anonymous(repr(value))
        return ""

    def attributes(self, value: Any, depth: int) -> str:
        parts: dict[str, Any] = {}
        own = getattr(value, "__dict__", None)
        if type(own) is dict:
            parts |= {key: item for key, item in own.items() if isinstance(key, str)}
        for kind in type(value).__mro__:
            slots = vars(kind).get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else tuple(slots):
                member = vars(kind).get(slot)
                if isinstance(member, types.MemberDescriptorType):
                    try:
                        parts[slot] = member.__get__(value)
                    except AttributeError:
                        continue
        if type(value).__module__ == "typing":
            parts.pop("__module__", None)
        if not parts:
            return ""
        return "<" + ", ".join(f"{key}={self.say(item, depth)}" for key, item in sorted(parts.items())) + ">"

    def of_function(self, value: types.FunctionType, depth: int) -> str:
        cells = []
        for cell in value.__closure__ or ():
            try:
                cells.append(cell.cell_contents)
            except ValueError:
                cells.append(None)
        home = value.__module__ if value.__globals__.get("__name__") == value.__module__ else "elsewhere"
        # A function whose globals are not the notebook's looks right and goes wrong one cell later.
        lives = "" if home != "__main__" or value.__globals__ is vars(sys.modules["__main__"]) else " LOST ITS GLOBALS"
        rest = (value.__defaults__, value.__kwdefaults__, dict(vars(value)), cells) if home == "__main__" else ()
        return f"def {home}.{value.__qualname__}{lives} {_code(value.__code__)} {self.say(rest, depth)}"

    def of_class(self, value: type, depth: int) -> str:
        skip = {
            "__dict__",
            "__weakref__",
            "__module__",
            "__qualname__",
            "_abc_impl",
            "__firstlineno__",
            "__doc__",
            "__slotnames__",
        }
        skip |= {"__static_attributes__", "__annotations_cache__", "__annotate_func__", "__abstractmethods__"}
        parts = {}
        for key, item in sorted(vars(value).items()):
            if key not in skip and not isinstance(item, types.MemberDescriptorType | types.GetSetDescriptorType):
                parts[key] = self.say(item, depth)
        bases = ", ".join(base.__qualname__ for base in value.__bases__)
        return f"class {value.__qualname__}({bases}) {parts}"

    # ------------------------------------------------------------------------------ values of libraries

    def of_numpy(self, value: Any, depth: int) -> str | None:
        np = sys.modules["numpy"]
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                return f"{value.shape} {self.say(value.ravel().tolist(), depth)}"
            text = repr(value.tolist()) if value.size <= 8 else hashlib.md5(value.tobytes()).hexdigest()[:12]
            # A view whose base is gone is a copy; both are what they show.
            return f"{value.dtype.str} {value.shape} {text}" + (
                f" {self.attributes(value, depth)}" if type(value) is not np.ndarray else ""
            )
        if isinstance(value, np.generic):
            return repr(value.item()) if not isinstance(value, np.void) else value.tobytes().hex()
        if isinstance(value, np.dtype):
            return str(value)
        if isinstance(value, np.random.Generator):
            return self.say(value.bit_generator.state, depth)
        if isinstance(value, np.random.RandomState):
            return self.say(value.get_state(), depth)
        return None

    def of_pandas(self, value: Any, depth: int) -> str | None:
        pd = sys.modules["pandas"]
        if isinstance(value, pd.DataFrame):
            columns = [
                (label, value.iloc[:, at].dtype.name, value.iloc[:, at].tolist())
                for at, label in enumerate(value.columns)
            ]
            return f"{value.shape} {self.say((columns, value.index.tolist(), value.index.names, value.attrs), depth)}"
        if isinstance(value, pd.Series):
            return f"{value.dtype} {self.say((value.name, value.tolist(), value.index.tolist(), value.attrs), depth)}"
        if isinstance(value, pd.Index):
            return f"{value.dtype} {self.say((list(value.names), value.tolist()), depth)}"
        if isinstance(value, pd.Timestamp | pd.Timedelta | pd.Period | pd.Interval):
            return str(value)
        return ""

    def of_matplotlib(self, value: Any, depth: int) -> str:
        figure, axes = (sys.modules.get(f"matplotlib.{name}") for name in ("figure", "axes"))
        if figure is not None and isinstance(value, figure.Figure):
            return f"{value.get_size_inches().tolist()} {[_axes(ax) for ax in value.axes]}"
        if axes is not None and isinstance(value, axes.Axes):
            return _axes(value)
        return ""

    def of_sympy(self, value: Any, depth: int) -> str:
        return str(value)

    def of_shown(self, value: Any, depth: int) -> str:
        return ""


def _axes(ax: Any) -> str:
    return f"{ax.get_title()}|{ax.get_xlabel()}|{len(ax.lines)}|{len(ax.patches)}|{len(ax.collections)}|{len(ax.texts)}"


_LIBRARIES = (
    ("numpy", _Look.of_numpy),
    ("pandas", _Look.of_pandas),
    ("matplotlib", _Look.of_matplotlib),
    ("mpl_toolkits", _Look.of_matplotlib),
    ("sympy", _Look.of_sympy),
    ("sqlite3", _Look.of_shown),
    ("ipykernel", _Look.of_shown),
    ("traitlets", _Look.of_shown),
    ("ipywidgets", _Look.of_shown),
    ("threading", _Look.of_shown),
    ("concurrent", _Look.of_shown),
    ("asyncio", _Look.of_shown),
    ("logging", _Look.of_shown),
    ("functools", _Look.of_shown),
)
_READABLE = frozenset(
    {"datetime", "decimal", "fractions", "uuid", "re", "pathlib", "collections", "itertools", "array", "zoneinfo"}
    | {"types", "typing", "builtins", "operator", "ipaddress"}
)


def _anonymous(text: str) -> str:
    return re.sub(r"0x[0-9a-fA-F]{6,}|\b\d{12,}\b", "0x", text)


def _code(code: types.CodeType) -> str:
    parts: list[Any] = [code.co_code, code.co_names, code.co_varnames]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            parts.append(_code(constant))
        else:
            parts.append(sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant))
    return hashlib.md5(repr(parts).encode()).hexdigest()[:8]


def write(path: str) -> None:
    """Write the digests of this kernel's names to a file."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    hidden = {name for name in shell.user_ns_hidden if shell.user_ns.get(name) is shell.user_ns_hidden[name]}
    Path(path).write_text(json.dumps(names(shell.user_ns, hidden)))
