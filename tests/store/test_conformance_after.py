"""Pins jobs that run after others, in every store: when they start, and what becomes of them when they cannot."""

from __future__ import annotations

import pytest
from making import Clock, claim, completed, failed, in_state, message, row, start, worker

from cellq.message import Action, Changed, Ending, Keep, Lease, Outcome, State
from cellq.store.contract import Store

A, B = worker("a"), worker("b")
UNKNOWN = b"?" * 16


async def family(store: Store, **options: object) -> tuple[bytes, bytes, bytes]:
    """A running parent, its child and its grandchild, which wait."""
    (lease,) = await start(store, who=A, **options)
    child = message(after=(lease.id,))
    grandchild = message(after=(child.id,))
    await store.push([child, grandchild], {})
    return lease.id, child.id, grandchild.id


async def finish_all(store: Store) -> list[bytes]:
    """Claim and complete what there is, until nothing is left; in the order of starting."""
    started = []
    while claims := await claim(store, A):
        started += [one.lease.id for one in claims]
        await store.finish([completed(one.lease) for one in claims])
    return started


async def test_a_child_starts_when_all_its_parents_have_completed(store: Store) -> None:
    one, two = await start(store, 2, who=A)
    child = message(after=(one.id, two.id))
    await store.push([child], {})
    assert (await row(store, child.id)).after == (one.id, two.id)
    await store.finish([completed(one)])
    assert await claim(store, B) == []
    assert (await row(store, child.id)).after == (two.id,)
    await store.finish([completed(two)])
    assert (await row(store, child.id)).after == ()
    assert [got.lease.id for got in await claim(store, B)] == [child.id]


async def test_what_completed_before_the_push_is_not_waited_for(store: Store) -> None:
    parent = await in_state(store, State.COMPLETED, A)
    child = message(after=(parent,))
    await store.push([child], {})
    assert [got.lease.id for got in await claim(store, B)] == [child.id]


async def test_a_chain_in_one_push_runs_in_order_whatever_the_priorities(store: Store) -> None:
    chain = [message()]
    for priority in (1, 5, 3):
        chain.append(message(after=(chain[-1].id,), priority=priority))
    await store.push(chain, {})
    assert await finish_all(store) == [one.id for one in chain]


async def test_a_claim_names_the_jobs_whose_results_are_arguments(store: Store) -> None:
    one, two = await start(store, 2, who=A)
    child = message(after=(one.id,), inputs=(two.id, one.id))
    await store.push([child], {})
    assert (await row(store, child.id)).after == (one.id, two.id)  # each one once
    await store.finish([completed(one), completed(two)])
    (got,) = await claim(store, B)
    assert got.inputs == (two.id, one.id)


@pytest.mark.parametrize(
    ("ending", "became"),
    [(Ending.FAILED, "failed"), (Ending.CANCELLED, "was cancelled"), (Ending.RETRY, None), (Ending.RELEASED, None)],
)
async def test_what_waits_for_a_job_that_did_not_complete_is_cancelled(
    store: Store, ending: Ending, became: str | None
) -> None:
    (lease,) = await start(store, who=A)
    child = message(after=(lease.id,))
    await store.push([child], {})
    await store.finish([Outcome(lease=lease, ending=ending)])
    found = await row(store, child.id)
    if became is None:  # it will run again
        assert (found.state, found.after) == (State.PENDING, (lease.id,))
        return
    assert found.state is State.CANCELLED
    assert found.failure is not None
    assert found.failure.cause == "dependency"
    assert found.failure.message == f"job {lease.id.hex()[-8:]}, which it was to run after, {became}"


async def test_parents_end_before_children_and_children_in_the_order_of_pushing(store: Store) -> None:
    (lease,) = await start(store, who=A)
    children = [message(after=(lease.id,)) for _ in range(3)]
    grandchildren = [message(after=(child.id,)) for child in reversed(children)]
    await store.push([*children, *grandchildren], {})
    await store.finish([failed(lease)])
    family = [lease.id, *(one.id for one in children), *(one.id for one in reversed(grandchildren))]
    rows = [await row(store, job_id) for job_id in family]
    assert sorted(rows, key=lambda one: one.ended or 0) == rows


async def test_cancelling_a_waiting_job_cancels_what_waits_for_it(store: Store) -> None:
    parent, child, grandchild = await family(store)
    assert await store.change([child], Action.CANCEL) == [Changed.DONE]
    states = [(await row(store, job_id)).state for job_id in (parent, child, grandchild)]
    assert states == [State.RUNNING, State.CANCELLED, State.CANCELLED]


async def test_a_parent_whose_worker_died_takes_its_children_along(store: Store, clock: Clock) -> None:
    _, child, grandchild = await family(store)
    clock.step(16)
    assert await claim(store, B) == []
    for job_id in (child, grandchild):
        found = await row(store, job_id)
        assert found.state is State.CANCELLED
        assert found.failure is not None
        assert found.failure.cause == "dependency"


async def test_a_job_after_one_that_will_not_complete_is_cancelled_at_once(store: Store) -> None:
    gone = [await in_state(store, State.FAILED, A), await in_state(store, State.CANCELLED, A), UNKNOWN]
    children = [message(after=(parent,)) for parent in gone]
    grandchild = message(after=(children[0].id,))
    assert all(one.created for one in await store.push([*children, grandchild], {}))
    found = [await row(store, one.id) for one in (*children, grandchild)]
    assert [one.state for one in found] == [State.CANCELLED] * 4
    assert [one.failure.message.split(", ")[-1] for one in found if one.failure] == [
        "failed",
        "was cancelled",
        "is not in the store",
        "was cancelled",
    ]


async def test_a_key_of_a_job_cancelled_for_its_parent_is_free_again(store: Store) -> None:
    (lease,) = await start(store, who=A)
    child = message(after=(lease.id,), key="k")
    await store.push([child], {})
    await store.finish([failed(lease)])
    again = message(key="k")
    assert (await store.push([again], {}))[0].created


async def test_the_delay_of_a_child_counts_from_its_push(store: Store, clock: Clock) -> None:
    (lease,) = await start(store, who=A)
    soon, later = message(after=(lease.id,), delay=3.0), message(after=(lease.id,), delay=30.0)
    await store.push([soon, later], {})
    clock.step(5)
    await store.finish([completed(lease)])
    assert [got.lease.id for got in await claim(store, A)] == [soon.id]
    clock.step(10)
    assert await claim(store, A) == []
    clock.step(16)
    assert [got.lease.id for got in await claim(store, A)] == [later.id]


async def test_run_again_a_cancelled_child_waits_for_what_is_left(store: Store) -> None:
    parent, child, grandchild = await family(store)
    await store.finish([failed(Lease(parent, 1))])
    assert await store.change([child], Action.RETRY) == [Changed.REFUSED]  # its parent has failed
    assert await store.change([parent, child, grandchild], Action.RETRY) == [Changed.DONE] * 3
    assert [(await row(store, job_id)).after for job_id in (parent, child, grandchild)] == [(), (parent,), (child,)]
    assert await finish_all(store) == [parent, child, grandchild]


async def test_run_again_a_child_of_one_that_is_gone_is_refused(store: Store) -> None:
    parent, child, _ = await family(store)
    await store.finish([failed(Lease(parent, 1))])
    assert await store.change([parent], Action.DELETE) == [Changed.DONE]
    assert await store.change([child], Action.RETRY) == [Changed.REFUSED]


async def test_what_has_completed_once_is_waited_for_no_more(store: Store) -> None:
    one, two = await start(store, 2, who=A)
    child = message(after=(one.id, two.id))
    await store.push([child], {})
    await store.finish([completed(one)])
    assert await store.change([one.id], Action.RETRY) == [Changed.DONE]
    assert (await row(store, child.id)).after == (two.id,)
    await store.change([child.id], Action.CANCEL)
    await store.finish([completed(two)])
    assert await store.change([child.id], Action.RETRY) == [Changed.DONE]
    assert (await row(store, child.id)).after == ()


async def test_pruned_families_leave_nothing_behind(store: Store, clock: Clock) -> None:
    parent, child, grandchild = await family(store)
    await store.finish([failed(Lease(parent, 1))])
    clock.step(1)
    assert await store.prune(Keep(completed=0, failed=0, cancelled=0)) == 3
    assert await store.get([parent, child, grandchild]) == [None, None, None]


async def test_ten_thousand_children_start_when_their_parent_has_completed(store: Store) -> None:
    (lease,) = await start(store, who=A)
    children = [message(after=(lease.id,), code=b"") for _ in range(10_000)]
    await store.push(children, {})
    await store.finish([completed(lease)])
    assert [got.lease.id for got in await claim(store, A, 10_000)] == [one.id for one in children]
