"""What a worker has been told about tasks: which it knows by name, and which middleware they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cellq.call import Arguments, Place
from cellq.ids import JobId, name_digest
from cellq.message import Blob, Claim, Kind
from cellq.worker.middleware import Middleware


def _cannot_reseal(blob: Blob, of: JobId, to: JobId, code: bytes) -> Blob:
    raise RuntimeError("this worker was not told how arguments are signed")


def _cannot_open(_: Claim) -> Arguments:
    raise RuntimeError("this worker was not told how arguments are opened")


@dataclass(frozen=True, kw_only=True)
class Program:
    """The tasks of a worker.

    Args:
        tasks: where the functions of registered tasks are, by the digest of the task's name.
        names: what these are called, for people.
        registered_only: run these and nothing else.
        middlewares: of all jobs, outermost first.
        of_tasks: what the jobs of some tasks have besides, inside of those; by the task's name.
        open_arguments: unpickles the arguments of a claim, for a middleware that asks for them.
        reseal: signs the arguments of a schedule's calls; see `ticking.Reseal`.
    """

    tasks: Mapping[bytes, Place] = field(default_factory=dict)
    names: Sequence[str] = ()
    registered_only: bool = False
    middlewares: tuple[Middleware, ...] = ()
    of_tasks: Mapping[str, tuple[Middleware, ...]] = field(default_factory=dict)
    open_arguments: Callable[[Claim], Arguments] = _cannot_open
    reseal: Callable[[Blob, JobId, JobId, bytes], Blob] = _cannot_reseal

    def layers(self, task: str) -> Sequence[Middleware]:
        """The middlewares of a task, outermost first."""
        more = self.of_tasks.get(task)
        return self.middlewares if more is None else (*self.middlewares, *more)

    def refusal(self, claim: Claim) -> str:
        """Why this worker will not run a claim, "" when it will."""
        # Names of registered tasks have a colon, those of functions never: most claims cost no more than this.
        if (":" not in claim.task and not self.registered_only) or claim.code in self.tasks:
            return ""
        if self.registered_only:
            return (
                f"refused: the worker that got {claim.task!r} runs registered tasks only"
                f" ({', '.join(self.names) or 'and has none'})"
            )
        if claim.kind is not Kind.CELL and claim.code == name_digest(claim.task):
            return (
                f"refused: task {claim.task!r} travels by its name, and the worker that got it does not know that name;"
                f" only a worker that was started with its module should serve queue {claim.queue!r}:"
                f" cellq worker MODULE:WORKER"
            )
        return ""
