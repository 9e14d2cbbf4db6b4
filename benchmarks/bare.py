"""What any queue on a Redis server pays, beside all that a queue does: bare commands of redis-py, acknowledged.

Run as a program, it is the other end of a round trip: it sends back whatever comes, from one list to another.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import redis
import stand
from measuring import percentile, single, timed

_SIZE = 300  # bytes: as much as a small job takes
_TRIPS = 100
_THERE, _BACK = "there", "back"


def turn(url: str, count: int) -> Mapping[str, float]:
    """One command after the other, each answered before the next; and single words to another process and back."""
    word = b"x" * _SIZE
    with redis.Redis.from_url(url) as client:
        client.flushall()
        seconds = timed(lambda: [client.rpush("queue", word) for _ in range(count)])

        def trip() -> None:
            client.rpush(_THERE, word)
            client.blpop([_BACK])

        with stand.running([sys.executable, __file__, url]):
            trip()
            trips = single(trip, _TRIPS)
    return {"rate": count / seconds, "trip": percentile(trips, 50)}


def _echo(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        while True:
            _, word = client.blpop([_THERE])
            client.rpush(_BACK, word)


if __name__ == "__main__":
    _echo(sys.argv[1])
