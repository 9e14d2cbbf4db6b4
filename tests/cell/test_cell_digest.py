"""A digest is equal in every process for equal values, and differs when what a value means differs."""

import pathlib
import subprocess
import sys

import pytest

from cellq.cell.digest import Undigestible, digest

SETUP = """
import sys, functools, collections, datetime, decimal, enum, pathlib, random
import numpy as np, pandas as pd
import helper
from helper import helped
class Model:
    kinds = {"a", "b", "c"}
    def __init__(self, depth): self.depth = depth; self.own = [self]
    @property
    def twice(self): return 2 * self.depth
    @staticmethod
    def make(): return Model(3)
class Colour(enum.Enum):
    RED = 1
Point = collections.namedtuple("Point", "x y")
def outer(k):
    def inner(x, y=2): return (x + y) * k
    return inner
ring = []
ring.append(ring)
values = {
    "scalars": [1, 1.5, -0.0, True, None, 2j, "ä\\ud800", b"b", ...],
    "set": {"one", "two", "three", "four"}, "frozen": frozenset({("a", 1), ("b", 2)}),
    "ring": ring, "shared": [ring, ring],
    "array": np.arange(12.0).reshape(3, 4).T, "times": np.array(["2020-01-01"], "M8[D]"),
    "objects": np.array([{"a"}, "b"], object), "structured": np.zeros(2, [("a", "i4"), ("b", "f8")]),
    "frame": pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=pd.to_datetime(["2020-01-01", "2020-01-02"])),
    "category": pd.Series(["u", "v", "u"], dtype="category"),
    "instance": Model(2), "class": Model, "enum": Colour.RED, "point": Point(1, 2), "nested": outer(3),
    "partial": functools.partial(outer, k=5), "lambda": lambda x: x + 1, "by name": functools.reduce,
    "module": helper, "helped": helped, "installed": np, "path": pathlib.PurePosixPath("a/b"),
    "time": datetime.datetime(2020, 1, 1), "decimal": decimal.Decimal("1.10"), "method": Model(1).__init__,
    "generator": np.random.default_rng(5), "random": random.Random(7), "default": collections.defaultdict(list, a=[1]),
}
"""
SHOW = "from cellq.cell.digest import digest\nfor name, value in values.items(): print(name, digest(value).hex())\n"


def digests(folder: pathlib.Path, seed: str, change: str = "") -> dict[str, str]:
    """The digests of all values in a process of its own, after a change to the code above."""
    (folder / "helper.py").write_text("import other\ndef helped(): return other.deep()\n")
    (folder / "other.py").write_text("def deep(): return 2\n" if change != "other" else "def deep(): return 3\n")
    old, _, new = change.partition(" -> ")
    code = "# moved\n" * int(seed) + SETUP.replace(old, new) if new else "# moved\n" * int(seed) + SETUP
    script = f"import sys; exec(compile({code!r}, 'cell {seed}', 'exec'), globals())\n{SHOW}"
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return dict(line.rsplit(" ", 1) for line in run.stdout.splitlines())


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of the values as they are above."""
    return digests(tmp_path_factory.mktemp("before"), "1")


def test_equal_values_have_one_digest_in_every_process(before: dict[str, str], tmp_path: pathlib.Path) -> None:
    other = digests(tmp_path, "2")
    assert [name for name in before if before[name] != other[name]] == []


@pytest.mark.parametrize(
    ("change", "differ"),
    [
        ("2 * self.depth -> 3 * self.depth", {"instance", "class", "method"}),
        ("(x + y) * k -> (x - y) * k", {"nested", "partial"}),
        ("outer(3) -> outer(4)", {"nested"}),
        ('"four" -> "five"', {"set"}),
        ("np.arange(12.0) -> np.arange(12)", {"array"}),
        ('["x", "y"] -> ["x", "z"]', {"frame"}),
        ("Model(2), -> Model(5),", {"instance"}),
        ("lambda x: x + 1 -> lambda x: x + 2", {"lambda"}),
        ("other", {"module", "helped"}),
    ],
)
def test_what_differs_has_another_digest(
    before: dict[str, str], tmp_path: pathlib.Path, change: str, differ: set[str]
) -> None:
    after = digests(tmp_path, "1", change)
    assert {name for name in before if before[name] != after[name]} == differ


def test_order_type_and_nesting_count() -> None:
    alike = [1, 1.0, True, "1", b"1", bytearray(b"1"), [1], (1,), {1}, frozenset({1}), {1: 1}, [[1]], [1, 1]]
    assert len({digest(value) for value in alike}) == len(alike)
    assert digest(["ab", "c"]) != digest(["a", "bc"])


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(Undigestible, match="generator"):
        digest([1, (x for x in ())])
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Undigestible, match="RecursionError"):
        digest(deep)
