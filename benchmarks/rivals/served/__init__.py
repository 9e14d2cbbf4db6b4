"""Queues that keep their jobs on a Redis server, all in one shape.

Each module has a `Client` (see `shape`) and `COMMANDS`, the command lines of its worker processes: two of them, or one
that starts two. They find the server by the environment variable `SERVER`. Each is set up as its friends would for
speed: those that poll do so every few milliseconds, results are kept, nothing is logged.
"""
