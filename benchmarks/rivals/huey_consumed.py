"""What huey's consumer is pointed at."""

from __future__ import annotations

import os

from rivals.huey import DATABASE, on

queue = on(os.environ[DATABASE]).queue
