"""What a worker has claimed and no slot has taken yet: mostly nothing, and never for long."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from cellq.message import Claim, Kind, Lane, Lease, lane_of
from cellq.worker.slot import Slot, alone

_Waiting = tuple[float, Claim]
"""Since when (monotonic seconds), and what."""


_SCHEDULES = 64
"""How many schedules are ticked at a time."""


class Backlog:
    """Claims that wait for room in a slot.

    Args:
        slots: where they are placed.
        held: how many claims of each lane are elsewhere, and will come here.

    Attributes:
        lanes: those that there are slots of, and that of schedules, which need none.
    """

    def __init__(self, slots: Sequence[Slot], held: Callable[[], Mapping[Lane, int]]) -> None:
        self.lanes = frozenset(slot.lane for slot in slots) | {Lane.SCHEDULES}
        self._slots = slots
        self._held = held
        self._waiting: list[_Waiting] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def leases(self) -> list[Lease]:
        """Of those that wait."""
        return [claim.lease for _, claim in self._waiting]

    def add(self, claims: Sequence[Claim]) -> None:
        """Place these, or let them wait behind those that are there."""
        now = time.monotonic()
        self._waiting += [(now, claim) for claim in claims]
        self.place()

    def put_back(self, claims: Sequence[Claim]) -> None:
        """Let these wait before those that are there."""
        now = time.monotonic()
        self._waiting[:0] = [(now, claim) for claim in claims]

    def take_out(self, lease: Lease) -> bool:
        """Drop this one; whether it was there."""
        before = len(self._waiting)
        self._waiting = [waiting for waiting in self._waiting if waiting[1].lease != lease]
        return len(self._waiting) < before

    def overdue(self, patience: float) -> list[Claim]:
        """Take out those that have waited for longer than so many seconds."""
        latest = time.monotonic() - patience
        late = [claim for since, claim in self._waiting if since < latest]
        if late:
            self._waiting = [waiting for waiting in self._waiting if waiting[0] >= latest]
        return late

    def take_all(self) -> list[Claim]:
        """Take out all of them."""
        waiting, self._waiting = self._waiting, []
        return [claim for _, claim in waiting]

    def room(self) -> dict[Lane, int]:
        """How many more claims of each lane would find a place now."""
        room = {Lane.SYNC: 0, Lane.COROUTINES: 0, Lane.SCHEDULES: _SCHEDULES}
        for slot in self._slots:
            room[slot.lane] += slot.room()
        for _, claim in self._waiting:
            room[lane_of(claim.kind)] -= 1
        for lane, number in self._held().items():
            room[lane] -= number
        return room

    def place(self) -> None:
        """Give what waits to slots: those that run alone to idle ones, the rest in even shares."""
        waiting, self._waiting = self._waiting, []
        for lane in {lane_of(claim.kind): None for _, claim in waiting}:
            mine = [one for one in waiting if lane_of(one[1].kind) is lane]
            self._waiting += _placed([slot for slot in self._slots if slot.lane is lane], mine)


def _placed(slots: Sequence[Slot], waiting: Sequence[_Waiting]) -> list[_Waiting]:
    """Place what has room in these slots, all of one lane; gives what has not."""
    left: list[_Waiting] = []
    small: list[_Waiting] = []
    idle = [slot for slot in slots if slot.idle]
    for one in waiting:
        if one[1].kind is Kind.COROUTINE or not alone(one[1]):
            small.append(one)
        elif idle:
            idle.pop(0).give([one[1]])
        else:
            left.append(one)
    if small:
        open_slots = sorted((slot for slot in slots if slot.room()), key=lambda slot: len(slot.placed))
        while small and open_slots:
            slot = open_slots.pop(0)
            share = min(slot.room(), -(-len(small) // (len(open_slots) + 1)))
            slot.give([claim for _, claim in small[:share]])
            del small[:share]
    return left + small
