"""Jobs among sealed arguments: which are met, that they travel as ids, and what arrives in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from cellq.errors import CellqError
from cellq.wire.inputs import Handle, Reference
from cellq.wire.pickling import dumps, loads


class OneJob(Handle):
    """A handle as clients have them; travels as a handle when it is no argument."""

    def __init__(self, number: int) -> None:
        self.number = number

    def references(self) -> list[Reference]:
        return [Reference(bytes([self.number]) * 16, f"job {self.number}")]

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (f"handle {self.number}",)


class SeveralJobs(OneJob):
    several = True

    def references(self) -> list[Reference]:
        return [Reference(bytes([number]) * 16, "each") for number in range(self.number)]


def arrival(jobs: Sequence[Reference], several: bool) -> object:
    values = [job.id[0] for job in jobs]
    return values if several else values[0]


def sent(value: object) -> tuple[Any, list[Handle]]:
    """What arrives, and what was met."""
    met: list[Handle] = []
    pickled = dumps(value, met=met)
    return loads(*pickled, arrival=arrival), met


def test_a_job_arrives_as_its_result_and_several_as_a_list() -> None:
    one, several = OneJob(7), SeveralJobs(3)
    assert sent(((one, {"all": several}), {})) == (((7, {"all": [0, 1, 2]}), {}), [one, several])


def test_one_handle_in_two_places_is_one_object() -> None:
    group = SeveralJobs(2)
    arrived, met = sent([group, group])
    assert arrived[0] is arrived[1]
    assert met == [group]


def test_the_same_job_travels_as_a_handle_where_nobody_asks_for_results() -> None:
    assert loads(*dumps([OneJob(7)])) == ["handle 7"]


def test_deeply_nested_arguments_are_searched_as_well() -> None:
    value: Any = OneJob(7)
    for _ in range(500):
        value = [value]
    arrived, met = sent(value)
    for _ in range(500):
        (arrived,) = arrived
    assert arrived == 7
    assert len(met) >= 1


def notebook(source: str, **names: Any) -> dict[str, Any]:
    """A notebook's namespace after a cell."""
    space: dict[str, Any] = {"__name__": "__main__", **names}
    exec(source, space)
    return space


HOLDERS = {
    "global": "def holds(): return job",
    "list in a global": "jobs = [job]\ndef holds(): return jobs[0]",
    "default": "def holds(x=job): return x",
    "keyword default": "def holds(*, x=job): return x",
    "closure": "def make(inner):\n    return lambda: inner\nholds = make(job)",
    "list in a closure": "def make(inner):\n    return lambda: inner[0]\nholds = make([job])",
    "attribute": "def holds(): return holds.job\nholds.job = job",
    "function in a global": "def inner(): return job\ndef holds(): return inner()",
    "method": "class Model:\n    def __call__(self): return job\nholds = Model()",
    "class attribute": "class Model:\n    own = job\n    def __call__(self): return self.own\nholds = Model()",
}


@pytest.mark.parametrize("source", HOLDERS.values(), ids=HOLDERS)
def test_what_a_function_or_a_class_holds_stays_a_handle(source: str) -> None:
    job = OneJob(7)
    space = notebook(source, job=job)
    arrived, met = sent((space["holds"], OneJob(8)))
    assert arrived[0]() in ("handle 7", job)  # a class that is known here stays as it is
    assert arrived[1] == 8
    assert [handle.number for handle in met if isinstance(handle, OneJob)] == [8]


def test_arguments_that_follow_a_function_are_searched_again() -> None:
    space = notebook("def holds(): return job", job=OneJob(1))
    arrived, _ = sent([space["holds"], OneJob(2), space["holds"], OneJob(3)])
    assert arrived[1::2] == [2, 3]


def test_results_can_be_opened_where_somebody_has_them_only() -> None:
    pickled = dumps([OneJob(7)], met=[])
    with pytest.raises(CellqError, match="can be opened in a worker only"):
        loads(*pickled)
