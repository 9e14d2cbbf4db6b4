"""Where client and worker meet: the public `Worker` with its tasks and middleware, `App` of several, `Scheduler`."""

from __future__ import annotations

from cellq.app.scheduler import Scheduler
from cellq.app.several import App
from cellq.app.worker import Worker

__all__ = ["App", "Scheduler", "Worker"]
