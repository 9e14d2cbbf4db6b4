"""Where client and worker meet: the public `Worker` with its tasks and middleware, and `App` of several."""

from __future__ import annotations

from cellq.app.several import App
from cellq.app.worker import Worker

__all__ = ["App", "Worker"]
