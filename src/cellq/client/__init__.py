"""Asking for work and holding on to it: queues, jobs and groups, async at the core with a thin sync face."""
