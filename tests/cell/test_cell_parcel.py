"""What travels with a cell, what is refused, what comes back, and what the notebook then holds."""

from __future__ import annotations

import gc
import io
import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellq.cell import returned as coming_back
from cellq.cell.parcel import Packed, Parcel, pack, unpack
from cellq.cell.returned import Returned, collect, merge, value_of
from cellq.errors import NotPicklable, TooLarge
from cellq.wire import pickling


def away(packed: Packed, value: Callable[[dict[str, Any]], object] = lambda space: None) -> Returned:
    """Run a parcel in a namespace of its own, everything sealed on the way as between processes."""
    parcel = carried(packed.parcel)
    space: dict[str, Any] = {"__name__": "__main__"}
    before = unpack(parcel, space)
    exec(parcel.source, space)
    return carried(collect(space, parcel, before, value(space)))


def carried(value: Any) -> Any:
    return pickling.loads(bytearray(pickling.pack(value)))


def held() -> Any:
    """Something that cannot travel."""
    lock = threading.Lock()
    lock.acquire()
    return lock


def notebook(source: str = "") -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(source, space)
    return space


@pytest.fixture(autouse=True)
def _ambient_restored() -> Iterator[None]:
    state = random.getstate(), np.random.get_state()
    yield
    random.setstate(state[0])
    np.random.set_state(state[1])


# ---------------------------------------------------------------------------------------------- packing


def test_a_value_that_cannot_travel_is_refused_by_name_and_path() -> None:
    space = notebook()
    space["config"] = {"lock": [held()]}
    with pytest.raises(NotPicklable, match="config") as caught:
        pack("config['lock']", space)
    assert "lock" in str(caught.value)


def test_what_a_called_function_reads_is_refused_as_well() -> None:
    space = notebook("def f(): return lock")
    space["lock"] = held()
    with pytest.raises(NotPicklable, match="lock"):
        pack("f()", space)


def test_an_unused_or_overwritten_value_does_not_hinder() -> None:
    space = notebook()
    space["lock"] = space["file"] = held()
    pack("file = 1\nfile", space)
    pack("if file_wanted:\n    lock = 2\nprint(lock)", {**space, "file_wanted": False})


def test_large_values_are_told() -> None:
    packed = pack("big.sum() + small", {"big": np.zeros(2_000_000), "small": 1})
    assert next(iter(packed.sizes)) == "big"
    assert "big 15.3 MiB" in packed.warnings[0]


def test_too_large_values_are_refused_with_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLQ_MAX_INPUT", "1000")
    with pytest.raises(TooLarge, match=r"big .*CELLQ_MAX_INPUT|CELLQ_MAX_INPUT.*big"):
        pack("big", {"big": np.zeros(1000)})


def test_names_that_nothing_defines_are_told() -> None:
    assert pack("typo + 1", {}).warnings == ("nothing defines typo",)


def test_arrays_are_not_copied_into_the_pickle() -> None:
    packed = pack("a", {"a": np.zeros(100_000)})
    assert len(packed.parcel.names.body) < 1000
    assert isinstance(carried(packed.parcel), Parcel)


def test_skipped_names_do_not_travel() -> None:
    space = {"fit": held(), "x": 1}
    packed = pack("fit\nx", space, skip=["fit"])
    assert pickling.loads(*packed.parcel.names) == {"x": 1}


def test_dynamic_code_takes_small_values_along_and_leaves_large_and_unpicklable_ones() -> None:
    space = {"small": 1, "big": np.zeros(100_000), "lock": held(), "code": "small + 1"}
    packed = pack("eval(code)", space)
    assert set(pickling.loads(*packed.parcel.names)) == {"small", "code"}


def test_a_large_value_named_in_a_dynamic_text_travels() -> None:
    space = {"big": np.zeros(100_000)}
    packed = pack("eval('big.sum()')", space)
    assert set(pickling.loads(*packed.parcel.names)) == {"big"}


# ---------------------------------------------------------------------------------------- coming back


def test_names_come_back_and_the_last_value_apart() -> None:
    space = notebook("x = 2")
    packed = pack("y = x + 1", space)
    back = away(packed, lambda job: job["y"] * 10)
    merged = merge(back, space, packed.snapshot)
    assert (space["y"], merged.set_names, value_of(back)) == (3, ("y",), 30)


def test_a_value_that_is_a_name_is_sent_once() -> None:
    space = notebook()
    packed = pack("import numpy as np\na = np.ones(10000)", space)
    back = away(packed, lambda job: job["a"])
    assert back.value_name == "a"
    assert value_of(back).sum() == 10000  # type: ignore[union-attr]


def test_only_wanted_names_come_back() -> None:
    space = notebook("seen = []")
    packed = pack("a = b = 1\nseen.append(1)", space, outputs=["a"])
    merge(away(packed), space, packed.snapshot)
    assert (space.get("a"), "b" in space, space["seen"]) == (1, False, [])
    packed = pack("c = 1", space, outputs=())
    assert merge(away(packed), space, packed.snapshot).set_names == ()


def test_a_name_that_the_user_has_rebound_is_left_alone() -> None:
    space = notebook("model = [1]\nother = [1]")
    packed = pack("model = 'from the job'\nother.append(2)\nnew = 1", space)
    back = away(packed)
    space.update(model="mine", other=[9], new="mine too")
    merged = merge(back, space, packed.snapshot)
    assert set(merged.skipped) == {"model", "other", "new"}
    assert (space["model"], space["other"], space["new"]) == ("mine", [9], "mine too")


def test_jobs_take_their_turn_in_the_order_they_were_enqueued() -> None:
    space = notebook("x = 0")
    first, second = pack("x = 'first'", space), pack("x = 'second'", space)
    merge(away(first), space, first.snapshot)
    merge(away(second), space, second.snapshot)
    assert space["x"] == "second"
    third, fourth = pack("x = 'third'", space), pack("x = 'fourth'", space)
    merge(away(fourth), space, fourth.snapshot)
    assert merge(away(third), space, third.snapshot).skipped == ("x",)
    assert space["x"] == "fourth"


def test_without_a_snapshot_existing_names_count_as_the_users() -> None:
    packed = pack("a = b = 1", notebook())
    space = {"a": "mine"}
    assert merge(away(packed), space, None).skipped == ("a",)
    assert space == {"a": "mine", "b": 1}


def test_deleted_names_go_unless_rebound() -> None:
    space = notebook("a = 1000\nb = 1000")
    packed = pack("del a, b", space)
    back = away(packed)
    space["b"] = 2
    merge(back, space, packed.snapshot)
    assert "a" not in space
    assert space["b"] == 2


def test_one_value_that_cannot_travel_costs_one_name() -> None:
    space = notebook()
    packed = pack("import threading\nlock = threading.Lock(); lock.acquire()\na = [1]\nb = [a]", space)
    back = away(packed, lambda job: job["lock"])
    merged = merge(back, space, packed.snapshot)
    assert list(merged.left_behind) == ["lock"]
    assert space["b"][0] is space["a"]
    with pytest.raises(NotPicklable, match="lock"):
        value_of(back)


def test_a_closed_file_is_not_worth_a_word(tmp_path: Any) -> None:
    packed = pack(f"with open({str(tmp_path / 'f')!r}, 'w') as f: f.write('x')", notebook())
    assert away(packed).left_behind == {}


def test_unchanged_inputs_stay_where_they_are() -> None:
    space = notebook("import numpy as np\nbig = np.zeros(100_000)\nlst = [1]")
    packed = pack("total = big.sum() + lst[0]", space)
    back = away(packed)
    assert (back.assigned, back.changed) == (("total",), ())
    assert sum(memoryview(buffer).nbytes for buffer in back.names.buffers) == 0


CHANGES: dict[str, tuple[Callable[[], Any], str, Callable[[Any], Any], Any]] = {
    "list": (lambda: [1], "it.append(it)", lambda it: (it[0], it[1] is it), (1, True)),
    "dict": (dict, "it['k'] = 1", dict, {"k": 1}),
    "set": (lambda: {1}, "it.add(2)", set, {1, 2}),
    "bytearray": (lambda: bytearray(b"a"), "it += b'b'", bytes, b"ab"),
    "array": (lambda: np.zeros(3), "it[1] = 5", list, [0, 5, 0]),
    "object array": (lambda: np.array([None, 1], object), "it[0] = 'x'", list, ["x", 1]),
    "frame": (lambda: pd.DataFrame({"a": [1]}), "it['b'] = 2", lambda it: it.to_dict("list"), {"a": [1], "b": [2]}),
    "series": (lambda: pd.Series([1, 2]), "it[0] = 9", list, [9, 2]),
    "generator": (lambda: np.random.default_rng(1), "it.random()", lambda it: it.random(), 0.9504636963259353),
    "Random": (lambda: random.Random(1), "it.random()", lambda it: it.random(), 0.8474337369372327),
    "string buffer": (io.StringIO, "it.write('x')", lambda it: it.getvalue(), "x"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_in_place_is_seen_through_the_name(kind: str) -> None:
    make, source, look, expected = CHANGES[kind]
    space = {"it": make(), "alias": None}
    space["alias"] = space["it"]
    packed = pack(source, space)
    merge(away(packed), space, packed.snapshot)
    assert look(space["it"]) == expected
    if kind != "string buffer":  # whose type keeps its content to itself
        assert space["it"] is space["alias"]


def test_closures_and_function_attributes_change_in_place() -> None:
    space = notebook(
        "def make(n=0):\n    def step():\n        nonlocal n\n        n += 1\n        return n\n    return step"
    )
    exec("step = make()\ndef f(): pass\n", space)
    packed = pack("step(); step()\nf.calls = 3", space)
    merge(away(packed), space, packed.snapshot)
    assert (space["step"](), space["f"].calls) == (3, 3)


def test_references_to_inputs_become_the_notebooks_own_objects() -> None:
    space = notebook("a = [1]\nb = {'a': a}\nclass P: pass\np = P()")
    packed = pack("p.a = a\nreport = ({'x': [a, b]}, p)\nagain = a\nf = lambda: a", space)
    merge(away(packed), space, packed.snapshot)
    report = space["report"]
    assert report[0]["x"][0] is space["a"]
    assert report[0]["x"][1] is space["b"]
    assert report[1] is space["p"]
    assert space["p"].a is space["a"]
    assert space["again"] is space["a"]
    assert space["f"]() is space["a"]


def test_functions_live_in_the_receivers_namespace() -> None:
    space = notebook("k = 1")
    packed = pack("def f(): return k", space)
    merge(away(packed), space, packed.snapshot)
    space["k"] = 5
    assert space["f"].__globals__ is space
    assert space["f"]() == 5


def test_methods_hidden_in_modules_travel_as_imports() -> None:
    space = notebook("from random import seed\nfrom os import environ as env, path\nimport numpy as np")
    packed = pack("seed(7)\nenv, path, np", space)
    found = {name: (wanted.module, wanted.attribute) for name, wanted in packed.parcel.imports.items()}
    assert found == {
        "seed": ("random", "seed"),
        "env": ("os", "environ"),
        "path": ("posixpath", "") if sys.platform != "win32" else ("ntpath", ""),
        "np": ("numpy", ""),
    }


def test_submodules_that_the_code_mentions_travel() -> None:
    space = notebook("import xml.etree.ElementTree, email.mime.text\ndef f(): return xml.etree.ElementTree")
    packed = pack("f()", space)
    assert "xml.etree.ElementTree" in packed.parcel.modules
    assert not any(module.startswith("email") for module in packed.parcel.modules)


# ------------------------------------------------------------------------------------------- ambient


def test_cells_that_are_out_together_draw_different_numbers() -> None:
    random.seed(1)
    np.random.seed(1)
    space = notebook("import random, numpy as np")
    packs = [pack("x = random.random(), np.random.rand()", space) for _ in range(3)]
    drawn = set()
    for packed in packs:
        state = random.getstate(), np.random.get_state()
        back = away(packed)
        random.setstate(state[0])
        np.random.set_state(state[1])
        drawn.update(pickling.loads(*back.names)["x"])
    assert len(drawn) == 6


def test_a_generator_that_moved_meanwhile_is_left_alone() -> None:
    random.seed(1)
    space = notebook("import random")
    packed = pack("x = random.random()", space)
    back = away(packed)
    random.seed(99)
    expected = random.getstate()
    merge(back, space, packed.snapshot)
    assert random.getstate() == expected


def test_only_changes_of_the_environment_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASE_NEW", "1")
    place = pickling.loads(*pack("1", {}).parcel.place)
    assert place["environment"]["CASE_NEW"] == "1"
    assert "HOME" not in place["environment"]


def test_a_state_waits_for_its_module(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from cellq.cell import imported

    (tmp_path / "late_module.py").write_text("value = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "late_module", raising=False)
    imported.when("late_module", lambda: setattr(sys.modules["late_module"], "value", 2))
    import late_module  # type: ignore[import-not-found]

    assert late_module.value == 2


def test_nothing_is_a_returned_that_changes_nothing() -> None:
    space = {"a": 1}
    assert merge(coming_back.nothing(), space, None).set_names == ()
    assert space == {"a": 1}


def test_a_value_that_cannot_be_put_together_at_home_costs_its_own_name_only() -> None:
    space = notebook(
        "class Far:\n    def __reduce__(self):\n        return far, ()\n"
        "def far():\n    raise LookupError('not here')\nmine = [1]"
    )
    packed = pack("lost = Far()\nmine.append(2)\nfound = {'mine': mine}", space)
    merged = merge(away(packed), space, packed.snapshot)
    assert merged.left_behind == {"lost": "it cannot be put together here (LookupError: not here)"}
    assert set(merged.set_names) == {"mine", "found"}
    assert space["mine"] == [1, 2]
    assert space["found"]["mine"] is space["mine"]
    assert "lost" not in space


def test_a_collector_that_was_stopped_is_stopped_on_the_other_side_as_well() -> None:
    space = notebook("import gc")
    try:
        gc.disable()
        packed = pack("seen = gc.isenabled(); gc.enable()", space)
        gc.enable()  # as in another process
        returned = away(packed)
        gc.disable()
        merge(returned, space, packed.snapshot)
        assert (space["seen"], gc.isenabled()) == (False, True)
    finally:
        gc.enable()
