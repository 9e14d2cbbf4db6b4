"""Queues, jobs and groups for scripts, threads and notebook cells; each method runs its async twin at once.

They work wherever blocking is allowed: also inside a running event loop (a notebook cell), which stands still
meanwhile, and in a forked child. Properties of a `Job` that has not ended look at the store each time.
"""

from cellq.client.sync.group import JobGroup, Waited, as_completed, wait
from cellq.client.sync.job import Job
from cellq.client.sync.queue import Queue
from cellq.client.sync.schedule import Schedule

__all__ = ["Job", "JobGroup", "Queue", "Schedule", "Waited", "as_completed", "wait"]
