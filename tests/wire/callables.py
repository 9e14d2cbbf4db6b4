# ruff: noqa: PIE796, RUF012, RUF013 - what people write is what is tested
"""The notebook of the travel test: everything a person may define in one, each with a question and its answer.

Run as `__main__`; `QUESTIONS` maps a name to (callable, args). Answers must be JSON.
"""

import abc
import asyncio
import collections
import contextlib
import contextvars
import dataclasses
import enum
import functools
import itertools
import operator
import random
import typing
import weakref
from random import Random

scale = 3
registry: list = []
QUESTIONS: dict = {}


def ask(name, func, *args):
    QUESTIONS[name] = (func, args)


# functions -----------------------------------------------------------------------------------------


def plain(x, y=2, *rest, z=4, **more):
    """Doc."""
    return [x, y, rest, z, sorted(more)]


ask("function", plain, 1)
ask("function attributes", lambda: [plain.__doc__, plain.__name__, plain.__module__, plain.__kwdefaults__])
ask("lambda", lambda x: x * scale, 5)


def factorial(n):
    return 1 if n == 0 else n * factorial(n - 1)


def even(n):
    return True if n == 0 else odd(n - 1)


def odd(n):
    return False if n == 0 else even(n - 1)


ask("recursion", factorial, 6)
ask("mutual recursion", even, 7)


def counter():
    n = 0

    def add():
        nonlocal n
        n += 1
        return n

    def read():
        return n

    return add, read


ADD, READ = counter()
ask("closures sharing a cell", lambda: [ADD(), ADD(), READ()])


def make_recursive():
    def down(n):
        return [] if n == 0 else [n, *down(n - 1)]

    return down


ask("recursive closure", make_recursive(), 3)


def use_global_state():
    global scale
    scale += 1
    return lambda: scale


ask("global statement, shared", lambda: [use_global_state()(), scale])


def generate(n):
    yield from range(n)


ask("generator function", lambda: list(generate(3)))


async def later(x):
    await asyncio.sleep(0)
    return x * scale


async def stream(n):
    for i in range(n):
        yield i


async def collect():
    return [x async for x in stream(3)]


ask("async function", lambda: asyncio.run(later(2)))
ask("async generator", lambda: asyncio.run(collect()))


def decorate(func):
    @functools.wraps(func)
    def wrapper(*args):
        wrapper.calls += 1
        return [wrapper.calls, func(*args)]

    wrapper.calls = 0
    return wrapper


@decorate
def decorated(x):
    return x + scale


ask("decorated", decorated, 1)
ask("wrapped name", lambda: [decorated.__name__, decorated.__wrapped__(1)])


@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@functools.cache
def cached_plain(x):
    return x * 2


ask("lru_cache, recursive", fibonacci, 30)
ask("cache parameters", lambda: [fibonacci.cache_parameters()["maxsize"], cached_plain(4), fibonacci.__name__])


@functools.singledispatch
def describe(x):
    return "object"


@describe.register
def _(x: int):
    return f"int {describe('nested')}"


@describe.register(list)
def _(x):
    return "list"


ask("singledispatch", lambda: [describe(1), describe([]), describe(None)])


@contextlib.contextmanager
def managed(x):
    yield x + 1


def use_managed():
    with managed(1) as y:
        return y


ask("contextmanager", use_managed)
ask("partial", functools.partial(plain, 1, z=9), 8)
ask("partial of a lambda", functools.partial(lambda a, b: a - b, b=1), 8)
ask("operator", operator.itemgetter(1), [4, 5])
ask("builtin", sorted, [3, 1])
ask("builtin method", "x-y".split, "-")
ask("library function", itertools.accumulate and functools.partial(max, 3), 2)


def local_class():
    class Local:
        factor = scale
        items = [plain(i)[0] for i in range(2)]

        def get(self):
            return [self.factor, self.items]

    return Local().get()


ask("class body inside a function", local_class)


def annotated(x: "Point", *, y: list[int] = None) -> "int":
    return [sorted(annotated.__annotations__)]


ask("annotations", annotated, 1)
ask("default is a function", lambda f=plain: f(0)[0])


def evaluated():
    return eval("abs(-3)")


ask("eval", evaluated)
ask("walrus and comprehension", lambda: [y for x in range(3) if (y := x * scale) > 0])

# classes -------------------------------------------------------------------------------------------


class Base:
    made = 0

    def __init__(self, x):
        self.x = x
        Base.made += 1

    def value(self):
        return self.x

    @property
    def doubled(self):
        return self.x * 2

    @classmethod
    def of(cls, x):
        return cls(x + 1)

    @staticmethod
    def add(a, b):
        return a + b + scale

    def __eq__(self, other):
        return type(other) is type(self) and other.x == self.x

    __hash__ = None


class Derived(Base):
    def __init__(self, x):
        super().__init__(x)
        self.y = x

    def value(self):
        return [super().value(), self.y, scale]


class Outer:
    class Inner:
        def name(self):
            return type(self).__qualname__


ask("class", lambda: [Base(1).value(), Base(1).doubled, Base.of(1).x, Base.add(1, 2), Base(1) == Base(1)])
ask("class itself", Base.of and (lambda cls: cls(4).value()), Derived)
ask("inheritance with super", lambda: Derived(2).value())
ask("bound method", Derived(5).value)
ask("classmethod bound", Derived.of(1).value)
ask("instance", lambda d: [d.value(), isinstance(d, Base), type(d) is Derived], Derived(7))
ask("nested class", Outer.Inner().name)


@dataclasses.dataclass(order=True)
class Point:
    x: int
    y: int = 2
    tags: list = dataclasses.field(default_factory=list, compare=False)

    def moved(self):
        return dataclasses.replace(self, x=self.x + scale)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: int
    y: int = 3

    def total(self):
        return self.x + self.y


class Hand:
    __slots__ = ("_Hand__secret", "a")

    def __init__(self):
        self.a = 1
        self.__secret = 2

    def get(self):
        return [self.a, self.__secret, hasattr(self, "__dict__")]


ask("dataclass", lambda p: [p.moved().x, p < Point(9), dataclasses.asdict(p)], Point(1))
ask("slotted dataclass", lambda s: [s.total(), hasattr(s, "__dict__"), repr(s), s == Slotted(1)], Slotted(1))
ask("slots", lambda h: h.get(), Hand())


class Colour(enum.Enum):
    RED = 1
    GREEN = 2
    CRIMSON = 1

    def nice(self):
        return self.name.title()


class Planet(enum.Enum):
    EARTH = (5.0, 6.0)
    MARS = (3.0, 4.0)

    def __init__(self, mass, radius):
        self.mass = mass
        self.radius = radius

    @property
    def density(self):
        return self.mass / self.radius


class Power(enum.IntFlag):
    READ = enum.auto()
    WRITE = enum.auto()
    BOTH = READ | WRITE


class Plain(enum.Flag):
    A = 1
    B = 2


class Word(enum.StrEnum):
    HELLO = enum.auto()


class Status(enum.IntEnum):
    OK = 200, "fine"
    GONE = 410, "gone"

    def __new__(cls, value, phrase):
        obj = int.__new__(cls, value)
        obj._value_ = value
        obj.phrase = phrase
        return obj


class Listed(enum.Enum):
    ONE = [1]


ask("enum", lambda c: [c.nice(), c is Colour.RED, Colour(2).name, Colour["CRIMSON"].name, len(Colour)], Colour.RED)
ask("enum aliases", lambda: [list(Colour.__members__), Colour.CRIMSON is Colour.RED, [c.name for c in Colour]])
ask(
    "enum with __init__",
    lambda p: [p.density, p is Planet.EARTH, Planet.MARS.mass, Planet((3.0, 4.0)).name],
    Planet.EARTH,
)
ask("int flag", lambda p: [int(p), (p & Power.READ).name, p is Power.BOTH, int(~Power.READ & Power.BOTH)], Power.BOTH)
ask("flag", lambda p: [p.value, Plain.A in p, str(p)], Plain.A | Plain.B)
ask("str enum", lambda w: [w.upper(), w == "hello", f"{w}"], Word.HELLO)
ask("enum with __new__", lambda s: [s + 1, s.phrase, Status(410).phrase, s is Status.OK], Status.OK)
ask("enum of unhashable values", lambda: [Listed([1]).name])


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...


class Square(Shape):
    def area(self):
        return 4


@Shape.register
class Virtual:
    pass


def abstract_refuses():
    try:
        Shape()
    except TypeError:
        return [Square().area(), isinstance(Virtual(), Shape), isinstance(3, Shape)]


ask("abstract class", abstract_refuses)


class Meta(type):
    seen: typing.ClassVar[list] = []

    def __new__(mcs, name, bases, body):
        body["made_by"] = "Meta"
        Meta.seen.append(name)
        return super().__new__(mcs, name, bases, body)

    def __len__(cls):
        return 42


class WithMeta(metaclass=Meta):
    pass


ask("metaclass", lambda: [len(WithMeta), WithMeta.made_by, Meta.seen])


class Plugin:
    known: typing.ClassVar[list] = []

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__()
        cls.known.append(cls.__name__)


class FirstPlugin(Plugin):
    pass


class Keyed:
    def __init_subclass__(cls, /, key, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.key = key


class One(Keyed, key=1):
    def get(self):
        return [super().__class__ is One, self.key]


ask("__init_subclass__", lambda: [FirstPlugin.known, Plugin.known is FirstPlugin.known])
ask("__init_subclass__ with arguments", lambda one: [one.get(), type("Two", (Keyed,), {}, key=2).key], One())


class Lazy:
    def __init__(self):
        self.n = 0

    @functools.cached_property
    def heavy(self):
        self.n += 1
        return self.n * scale

    @functools.singledispatchmethod
    def show(self, x):
        return "object"

    @show.register
    def _(self, x: int):
        return "int"

    @functools.lru_cache  # noqa: B019
    def remembered(self, x):
        return x + self.n

    half = functools.partialmethod(lambda self, k: k / 2, 5)


ask("cached_property", lambda o: [o.heavy, o.heavy], Lazy())
ask("singledispatchmethod", lambda o: [o.show(1), o.show("")], Lazy())
ask("lru_cache method", lambda o: o.remembered(4), Lazy())
ask("partialmethod", lambda o: o.half(), Lazy())


class Descriptor:
    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, obj, owner):
        return f"{self.name} of {owner.__name__}"


class Described:
    field = Descriptor()


ask("descriptor", lambda: Described().field)

T = typing.TypeVar("T")
Ts = typing.TypeVarTuple("Ts")
P = typing.ParamSpec("P")
UserId = typing.NewType("UserId", int)


class Box(typing.Generic[T]):
    def __init__(self, item: T):
        self.item = item


class IntBox(Box[int]):
    pass


class Pair(typing.NamedTuple):
    a: int
    b: int = 5

    def total(self):
        return self.a + self.b


Old = collections.namedtuple("Old", "p q")


class Film(typing.TypedDict):
    name: str


@typing.runtime_checkable
class Closes(typing.Protocol):
    def close(self) -> None: ...


class Door:
    def close(self):
        return None


ask("generic", lambda b: [b.item, isinstance(b, Box), IntBox(2).item, Box[int](1).item], Box(3))
ask("named tuple", lambda p: [p.total(), p, p._replace(a=2).a], Pair(1))
ask("namedtuple", lambda p: [p.q, p._fields], Old(1, 2))
ask("typed dict", lambda: [Film(name="x"), sorted(Film.__annotations__)])
ask("protocol", lambda: [isinstance(Door(), Closes), isinstance(3, Closes)])
ask("NewType", lambda: [UserId(4), UserId.__name__])
ask("TypeVarTuple, ParamSpec", lambda: [Ts.__name__, P.__name__, T.__name__])


class Callable_:
    def __init__(self, k):
        self.k = k

    def __call__(self, x):
        return x * self.k


ask("callable instance", Callable_(3), 4)


class Reduced:
    def __init__(self, x):
        self.x = x

    def __reduce__(self):
        return rebuild_reduced, (self.x,)


def rebuild_reduced(x):
    return Reduced(x)


class Stated:
    s = 4

    def __getstate__(self):
        return {"s": 1}

    def __setstate__(self, state):
        self.s = state["s"] + scale


ask("__reduce__", lambda r: r.x, Reduced(1))
ask("__setstate__", lambda r: r.s, Stated())


class Listy(list):
    def first(self):
        return self[0]


class Dicty(dict):
    def __missing__(self, key):
        return key


ask("list subclass", lambda v: [v.first(), len(v)], Listy([3, 4]))
ask("dict subclass", lambda v: [v["a"], v["b"]], Dicty(a=1))
ask("defaultdict with a lambda", lambda v: [v["x"], v["y"]], collections.defaultdict(lambda: scale, x=1))


class Node:
    def __init__(self):
        self.parent = self
        self.children = [self]


ask("cycle", lambda n: [n.parent is n, n.children[0] is n], Node())
shared = [1]
ask("sharing between arguments", lambda a, b: (a.append(2), b, a is b)[1:], shared, shared)


class Odd(Exception):
    def __init__(self, code, *, hint):
        super().__init__(f"{code}: {hint}")
        self.code, self.hint = code, hint


ask(
    "exception value",
    lambda e: [e.code, e.hint, str(e), type(e) is Odd, isinstance(e.__cause__, KeyError)],
    Odd(1, hint="h"),
)
QUESTIONS["exception value"][1][0].__cause__ = KeyError("k")


def raises():
    try:
        raise Odd(2, hint="x")
    except Odd as error:
        return str(error)


ask("own exception raised", raises)
ask("frozen set of tuples", lambda s: sorted(s), frozenset({(1, 2)}))
ask("memoryview", lambda m: [type(m).__name__, m[0], m.readonly], memoryview(bytearray(b"ab")))
ask("weak dictionary", lambda: [type(weakref.WeakKeyDictionary()).__name__])
ask("own random generator", lambda r: r.random(), Random(5))


def seeded():
    seed(7)
    return [random.random() == Random(7).random()]


seed = random.seed
ask("random.seed by name", seeded)
ask("deep list", lambda v: depth(v))


def depth(v):
    n = 0
    while v:
        v, n = v[0], n + 1
    return n


deep: list = []
for _ in range(900):
    deep = [deep]
QUESTIONS["deep list"] = (depth, (deep,))


class Monkey:
    pass


def patched(self):
    return [type(self).__name__, scale]


Monkey.method = patched
Monkey.lam = lambda self: scale
ask("patched class", lambda m: [m.method(), m.lam()], Monkey())


def star(*, a, b=plain):
    return [a, b(1)[0]]


ask("keyword-only default", functools.partial(star, a=1))
ask("map of a function", lambda f, items: [f(i) for i in items], factorial, [1, 2, 3])
ask("contextvars by library", lambda: contextvars.copy_context() is not None)
ask("standard output", lambda f: f.writable(), __import__("sys").stdout)
