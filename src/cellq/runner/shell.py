"""An IPython shell in a slot: a cell behaves as in the notebook, and what it shows is emitted as Jupyter messages.

    prepare()                  once, in the zygote: one shell, no threads; every forked child has it ready
    shell.serve(cell, ...)     in the child: the cell under IPython's rules

                       ┌─ display(...), figures ─▶ Publisher ─▶ display_data, update_display_data, clear_output
    run_cell(source) ──┼─ last expression ───────▶ Hook ──────▶ execute_result
                       └─ exception ─────────────▶ _showtraceback ─▶ error

Plain text goes to `sys.stdout` and `sys.stderr`, which the slot captures. ipykernel is never imported: tqdm, rich and
plotly ask for it to find out where they are, and would then look for a front end.
"""

from __future__ import annotations

import asyncio
import base64
import builtins
import codecs
import contextlib
import contextvars
import getpass
import json
import linecache
import os
import sys
import warnings
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NoReturn

import psutil

try:
    import IPython
    from IPython.core import async_helpers, interactiveshell
    from IPython.core.compilerop import CachingCompiler
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.error import StdinNotImplementedError
    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
    from traitlets import Type
    from traitlets.config import Config
except ImportError:  # a worker that only runs functions needs no IPython
    CachingCompiler = DisplayHook = DisplayPublisher = InteractiveShell = ExecutionResult = object  # type: ignore[assignment,misc]
    Config = async_helpers = interactiveshell = None  # type: ignore[assignment,misc]
    StdinNotImplementedError = NotImplementedError  # type: ignore[assignment,misc]

    def Type(kind: object) -> object:  # type: ignore[no-redef]
        """Stands for the trait of that name."""
        return kind


from cellq.cell import ambient
from cellq.errors import CellqError
from cellq.runner import outputs

Emit = Callable[[str, dict[str, Any]], None]
"""Takes the kind of a Jupyter message and its content."""

INLINE = "module://matplotlib_inline.backend_inline"

_CANNOT_ASK = "a job cannot ask for input: pass the answer in as a variable"


class Publisher(DisplayPublisher):
    """Where `display` and figures go. Display ids are the notebook's: a later cell can update what this one shows."""

    def publish(  # type: ignore[override]  # IPython's own signature differs between versions
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *,
        transient: dict[str, Any] | None = None,
        update: bool = False,
        **_: object,
    ) -> None:
        """Emit a display, or the update of one."""
        content = {"data": data, "metadata": metadata or {}, "transient": dict(transient or {})}
        _of(self).emit("update_display_data" if update else "display_data", content)

    def clear_output(self, wait: bool = False) -> None:
        """Emit the request to clear the cell's output."""
        _of(self).emit("clear_output", {"wait": wait})


class Hook(DisplayHook):
    """Where the value of the last expression goes."""

    @property
    def prompt_count(self) -> int:
        """The number for `Out[n]`: here the cell's own, since the history counts nothing."""
        return int(_of(self).execution_count)

    def __call__(self, result: object = None) -> None:
        """Show a value; kept as the job's result even when a trailing semicolon hides it."""
        _of(self).value = result
        super().__call__(result)  # type: ignore[no-untyped-call]

    def quiet(self) -> bool:
        """Whether the cell ends with a semicolon. (IPython looks into the history, which is off here.)"""
        return bool(self.semicolon_at_end_of_expression(_of(self).source))  # type: ignore[no-untyped-call]

    def update_user_ns(self, result: object) -> None:
        """The notebook's own shell keeps the history."""
        _of(self).shown.append(result)

    def write_output_prompt(self) -> None:
        """The front end draws the prompt."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        """Emit the value in all its representations."""
        content = {"data": format_dict, "metadata": md_dict or {}, "execution_count": self.prompt_count}
        _of(self).emit("execute_result", content)

    def finish_displayhook(self) -> None:
        """Nothing was printed, so nothing needs a line end."""
        self._is_active = False


def _of(part: Any) -> WorkerShell:
    """The shell that a hook or publisher belongs to."""
    shell: WorkerShell = part.shell
    return shell


class Compiler(CachingCompiler):
    """Gives the cell the line numbers it has in the notebook, where the enqueuing line stands above it."""

    header = ""
    source = ""
    cell_file = ""

    def cache(self, transformed_code: str, number: int = 0, raw_code: str | None = None) -> str:
        """Name the code for tracebacks; the enqueuing line becomes part of what they show."""
        name = str(super().cache(transformed_code, number, raw_code=raw_code))
        above = self._above()
        if raw_code == self.source and above:
            self.cell_file = name
            _, stamp, lines, file = linecache.cache[name]  # type: ignore[misc]
            lines = [*above, *lines]
            linecache.cache[name] = (sum(map(len, lines)), stamp, lines, file)
        return name

    def ast_parse(self, source: str, filename: str = "<unknown>", symbol: str = "exec") -> Any:
        """Parse, shifted down by the lines above the cell."""
        if filename == self.cell_file:
            source = "\n" * len(self._above()) + source
        return super().ast_parse(source, filename, symbol)

    def _above(self) -> list[str]:
        """The lines above the code proper; IPython drops empty ones at its start."""
        empty = len(self.source) - len(self.source.lstrip())
        return [*self.header.splitlines(keepends=True), *["\n"] * self.source.count("\n", 0, empty)]


class WorkerShell(InteractiveShell):
    """The shell of a slot. `emit`, `job_id`, `source`, `value`, `shown`, `viewed` and `pages` belong to its cell."""

    displayhook_class = Type(Hook)
    display_pub_class = Type(Publisher)
    compiler_class = Type(Compiler)
    kernel = None
    """pandas takes a shell without this attribute for a terminal."""

    loops = False
    """Whether cells run inside an event loop: not before the fork, or its descriptors would be shared."""

    def __init__(self, **kwargs: Any) -> None:
        self._emit: Emit = lambda kind, content: None
        self.job_id = ""
        self.source = ""
        self.value: object = None
        self.shown: list[object] = []
        self.viewed: list[object] = []
        self.pages: list[dict[str, Any]] = []
        self.traceback = ""
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.loop_runner = _in_loop

    def serve(
        self, source: str, *, header: str, execution_count: int | None, job_id: str, emit: Emit
    ) -> ExecutionResult:
        """Run a cell.

        Args:
            source: the cell's text.
            header: lines above it in the notebook cell.
            execution_count: the notebook's number for it.
            job_id: prefix for display ids.
            emit: takes what the cell shows.
        """
        self._emit, self.job_id, self.source, self.value, self.traceback = emit, job_id, source, None, ""
        self.shown, self.pages, self.viewed = [], [], []
        compiler: Any = self.compile
        compiler.header, compiler.source = header, source
        self.execution_count = execution_count or 1
        outputs.begin()
        builtins.input, getpass.getpass = partial(_refuse, "raw_input"), partial(_refuse, "getpass")
        try:
            return self.run_cell(source, store_history=False)  # type: ignore[no-untyped-call,no-any-return]
        finally:
            outputs.end()
            builtins.input = getpass.getpass = _no_input
            self._end_tasks()

    def open_loop(self) -> None:
        """Have an event loop ready before the cell's own logging is in force, which asyncio would tell of it."""
        async_helpers.get_asyncio_loop()  # type: ignore[no-untyped-call]

    def emit(self, kind: str, content: dict[str, Any]) -> None:
        """Hand on a message, its content made fit for JSON."""
        cleaned = _clean(content)
        self.viewed += outputs.viewed(cleaned)
        if not outputs.heard(kind, cleaned):
            self._emit(kind, cleaned)

    # ------------------------------------------------------------------------- what IPython calls

    def init_hooks(self) -> None:
        """What goes to the pager is kept for the notebook's."""
        super().init_hooks()  # type: ignore[no-untyped-call]
        self.set_hook("show_in_pager", self._take_page, 99)  # type: ignore[no-untyped-call]

    def _take_page(self, _shell: object, data: object, start: int = 0, **_: object) -> None:
        self.pages.append(data if isinstance(data, dict) else {"text/plain": str(data)})

    def enable_gui(self, gui: object = None) -> None:
        """No event loop of a window system runs here."""

    def ask_exit(self) -> None:
        """`exit` and `quit` end the job as `sys.exit` does."""
        raise SystemExit

    def should_run_async(self, raw_cell: str, **kwargs: Any) -> bool:
        """Whether it runs inside an event loop: each cell does, as in a notebook; a cell within a cell is in one."""
        inside = asyncio._get_running_loop() is not None
        return (self.loops and not inside) or bool(super().should_run_async(raw_cell, **kwargs))

    def show_usage_error(self, exc: BaseException) -> None:
        """A magic was called wrongly: an error like others, shown in short."""
        self._showtraceback(type(exc), exc, [f"UsageError: {exc}"])

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.traceback = "\n".join(stb)
        try:
            message = str(evalue)
        except Exception as error:  # an exception whose __str__ fails
            message = f"<{type(error).__name__} in __str__>"
        self.emit("error", {"ename": etype.__name__, "evalue": message, "traceback": list(stb)})

    def system_piped(self, cmd: str) -> None:
        """`!command`, on a terminal of its own as in a kernel: `ls` writes columns, others use colours."""
        command = self.var_expand(cmd, depth=1)  # type: ignore[no-untyped-call]
        sys.stdout.flush()
        import pexpect  # type: ignore[import-untyped]  # comes with IPython where there are terminals

        process = pexpect.spawn(os.environ.get("SHELL", "sh"), ["-c", command], echo=False)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            with contextlib.suppress(pexpect.EOF):
                while True:
                    sys.stdout.write(decoder.decode(process.read_nonblocking(65536, timeout=None)))
                    sys.stdout.flush()
            sys.stdout.write(decoder.decode(b"", True))
            process.wait()
        except BaseException:
            for member in (*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.terminate()
            raise
        code = -(process.signalstatus or 0) if process.exitstatus is None else process.exitstatus
        self.user_ns["_exit_code"] = code if code <= 128 else 128 - code

    system_raw = system_piped
    system = system_piped

    # ------------------------------------------------------------------------------- event loop

    def _end_tasks(self) -> None:
        """A task that outlives its cell cannot come back into the notebook: it is stopped, and the cell says so."""
        loop = getattr(async_helpers, "_asyncio_event_loop", None)
        if loop is None or loop.is_closed() or loop.is_running():
            return
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        names = ", ".join(sorted(getattr(task.get_coro(), "__qualname__", "a task") for task in tasks))
        print(f"cellq: stopped with its cell: {names}. Await a task in the cell that starts it.", file=sys.stderr)


# Libraries that ask in which shell they run (pandas, rich, plotly) shall get the notebook's answer.
WorkerShell.__name__ = WorkerShell.__qualname__ = "ZMQInteractiveShell"
WorkerShell.__module__ = "ipykernel.zmqshell"


def _warn(message: Any, *args: Any, **kwargs: Any) -> None:
    """IPython's warnings; not the one about leaving with `exit`, which is for those who sit before a shell."""
    if not str(message).startswith("To exit:"):
        warnings.warn(message, *args, **kwargs)  # says itself where


def _in_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a cell in the event loop, and keep what it sets in its context: decimal's and NumPy's settings are there."""
    context = contextvars.copy_context()
    loop = async_helpers.get_asyncio_loop()  # type: ignore[no-untyped-call]
    task = loop.create_task(coroutine, context=context)
    try:
        return loop.run_until_complete(task)
    finally:
        if task.done() and not task.cancelled():
            task.exception()  # it is raised already
        for variable, value in context.items():
            if variable.get(None) is not value:
                variable.set(value)


def _no_input(*_: object, **__: object) -> NoReturn:
    raise EOFError(_CANNOT_ASK)


def _refuse(what: str, *_: object, **__: object) -> NoReturn:
    """What a notebook says that nobody sits before."""
    error = StdinNotImplementedError(f"{what} was called, but this frontend does not support input requests.")
    error.add_note(_CANNOT_ASK)
    raise error


def _clean(value: Any) -> Any:
    """The same content with nothing in it that JSON has no word for; bytes become base64 text."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return _clean_deep(value)
    return value


def _clean_deep(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, dict):
        return {str(key): _clean_deep(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean_deep(item) for item in value]
    if hasattr(value, "item") and callable(value.item):  # a NumPy scalar
        try:
            return _clean_deep(value.item())
        except (TypeError, ValueError):
            return repr(value)
    return repr(value)


_shell: WorkerShell | None = None


def prepare() -> bool:
    """Make the shell of this process, once; for the zygote, before it forks. Starts no thread.

    Returns:
        False when IPython is not installed: functions run, cells do not.
    """
    global _shell
    if _shell is None and Config is not None:
        os.environ["MPLBACKEND"] = INLINE
        config = Config()
        config.HistoryManager.enabled = False
        config.HistoryManager.hist_file = ":memory:"
        config.InteractiveShell.colors = "Neutral" if int(IPython.__version__.split(".")[0]) < 9 else "neutral"
        config.InteractiveShell.autoindent = False
        interactiveshell.warn = _warn  # type: ignore[attr-defined]
        _shell = WorkerShell.instance(config=config)
        # pandas asks for it when it is imported, which may be before a cell runs, and thinks of a terminal without it.
        builtins.get_ipython = _shell.get_ipython  # type: ignore[attr-defined]
        # What is imported and made at first use is made now, so that every child has it.
        _shell.serve("pass", header="", execution_count=None, job_id="", emit=lambda kind, content: None)
        formatter: Any = _shell.display_formatter
        formatter.format(0)
        ambient.providers()
        outputs.listen(partial(_shell.showtraceback, tb_offset=0))
        _shell.loops = True
    return _shell is not None


def adopt(emit: Emit) -> None:
    """What is displayed while no cell runs, by functions, goes here."""
    if _shell is not None:
        _shell._emit = emit


def current() -> WorkerShell:
    """The shell of this process.

    Raises:
        CellqError: IPython is not installed where the worker runs.
    """
    if not prepare() or _shell is None:
        raise CellqError(
            "this worker cannot run cells: IPython is not installed there. Run: pip install 'cellq[notebook]'"
        )
    return _shell
