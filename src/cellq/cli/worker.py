"""A worker in the foreground: `cellq worker`, of a queue or of a program's own tasks."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import logging
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cellq.app import App, Worker
from cellq.cli.place import url_option
from cellq.cli.screen import visible

_THEIRS = ("url", "queues")
"""What a worker of a program says for itself."""


@click.command()
@click.argument("target", metavar="[MODULE:WORKER]", required=False)
@click.option("--app", "app", metavar="MODULE:APP", help="Run all workers of this cellq.App instead.")
@click.option("--registered-only", is_flag=True, help="Refuse jobs that are no registered tasks of the worker.")
@url_option(existing=False)
@click.option("-q", "--queue", "queues", multiple=True, help="A queue to serve; may be given several times.")
@click.option("-n", "--slots", default=2, show_default=True, help="How many calls and cells run at a time.")
@click.option("--concurrency", default=100, show_default=True, help="How many coroutine jobs run at a time.")
@click.option("--lease", default=15.0, show_default=True, help="Seconds of silence until others take its jobs back.")
@click.option("--grace", default=2.0, show_default=True, help="Seconds between asking a job to stop and killing it.")
@click.option("--drain", default=10.0, show_default=True, help="Seconds that running jobs get at shutdown.")
@click.option("--idle-exit", type=float, help="End after so many seconds without a job.")
@click.option("--max-jobs", type=int, help="Replace a slot's process after so many jobs.")
@click.option("--max-memory", type=int, help="Replace a slot's process that holds more bytes after a job.")
@click.option("--keep", is_flag=True, help="Cells share the process of their slot, and what is left in it.")
@click.option("--preload", multiple=True, help="A module to import ahead of need, so that jobs find it loaded.")
@click.option(
    "--log-level", default="INFO", show_default=True, type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"])
)
@click.pass_context
def worker(
    ctx: click.Context,
    /,
    target: str | None,
    app: str | None,
    registered_only: bool,
    queues: tuple[str, ...],
    url: str,
    log_level: str,
    **settings: Any,
) -> None:
    """Run jobs until Ctrl-C (once: finish what runs; twice: now).

    MODULE:WORKER names a cellq.Worker of yours, with its tasks and middleware; options that are given replace what it
    says, and --url and --queue are its own business.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("cellq").setLevel(log_level)  # DEBUG is about cellq; libraries would drown it
    if target is not None and app is not None:
        raise click.UsageError("give MODULE:WORKER or --app MODULE:APP, not both")
    found: Worker | App | None = _load(target, Worker) if target else _load(app, App) if app else None
    given = {name for name in ctx.params if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT}
    try:
        if found is None:
            found = Worker(queues or ("default",), url=url, registered_only=registered_only, **settings)
        else:
            for name in given.intersection(_THEIRS):
                raise click.UsageError(f"--{name.removesuffix('s')} is said where {target or app} is made")
            changes = {name: value for name, value in settings.items() if name in given}
            for one in found.workers.values() if isinstance(found, App) else (found,):
                one.settings = dataclasses.replace(one.settings, **changes)
                one.registered_only = one.registered_only or registered_only
    except (TypeError, ValueError) as error:
        raise click.UsageError(visible(str(error))) from error
    found.run()


def _load(target: str, kind: type[Any]) -> Any:
    """The worker or app behind "module:name", which may be in the working directory.

    Raises:
        click.UsageError: there is none.
    """
    module_name, colon, name = target.partition(":")
    if not colon or not module_name or not name:
        raise click.UsageError(f"{visible(target)!r}: write MODULE:NAME, as in myapp.emails:worker")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise  # it is there, and something that it imports is not: the traceback tells where
        raise click.UsageError(f"there is no module {visible(module_name)!r}, neither here nor installed") from error
    try:
        found = functools.reduce(getattr, name.split("."), module)
    except AttributeError as error:
        raise click.UsageError(f"module {visible(module_name)!r} has no {visible(name)!r}") from error
    if not isinstance(found, kind):
        raise click.UsageError(f"{visible(target)} is no cellq.{kind.__name__}, but {type(found).__qualname__}")
    return found
