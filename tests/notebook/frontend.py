"""A front end without a screen: it runs cells in a real kernel and files what comes back, also late, under each cell.

nbclient stops listening to a cell when it has ended; a page does not, and neither does this. With `headless=True` a
cell is sent the way nbclient, nbconvert and papermill send it (`allow_stdin=False`).
"""

import pathlib
import queue
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Cell:
    """A cell that was run: what would stand below it now.

    Attributes:
        outputs: as pairs of message type and content, in order.
        messages: how many messages have arrived for it.
        reply: the kernel's answer, None before it has ended.
    """

    def __init__(self, front: "Frontend", ident: str) -> None:
        self.front = front
        self.id = ident
        self.outputs: list[tuple[str, dict[str, Any]]] = []
        self.messages = 0
        self.reply: dict[str, Any] | None = None
        self.idle = False

    def take(self, kind: str, content: dict[str, Any]) -> None:
        """File a message as a page would."""
        self.messages += 1
        if kind == "clear_output":
            self.outputs.clear()
        elif kind == "stream" and self.outputs and self.outputs[-1][0] == kind:
            last = self.outputs[-1][1]
            if last["name"] == content["name"]:
                last["text"] += content["text"]
                return
            self.outputs.append((kind, dict(content)))
        else:
            self.outputs.append((kind, dict(content)))

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """The contents of these kinds."""
        return [content for kind, content in self.outputs if kind in kinds]

    @property
    def printed(self) -> str:
        """The text of its standard output."""
        return "".join(content["text"] for content in self.of("stream") if content["name"] == "stdout")

    @property
    def warned(self) -> str:
        """The text of its standard error."""
        return "".join(content["text"] for content in self.of("stream") if content["name"] == "stderr")

    @property
    def card(self) -> str:
        """Its card as plain text, "" when there is none."""
        cards = [c["data"] for c in self.of("display_data") if "cellq-card" in str(c["data"].get("text/html"))]
        assert len(cards) < 2, f"{len(cards)} cards below one cell"
        return str(cards[0]["text/plain"]) if cards else ""

    @property
    def error(self) -> str:
        """Its error as it is read, without colours; "" when there is none."""
        errors = self.of("error")
        assert len(errors) < 2, f"{len(errors)} errors below one cell"
        return _ANSI.sub("", "\n".join(errors[0]["traceback"])) if errors else ""

    @property
    def value(self) -> str:
        """The plain text of its result."""
        return "".join(str(content["data"]["text/plain"]) for content in self.of("execute_result"))

    def until(self, condition: Callable[["Cell"], Any], what: str, timeout: float = 30.0) -> "Cell":
        """Wait until something stands below it."""
        deadline = time.monotonic() + timeout
        with self.front.news:
            while not condition(self):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"waited {timeout:g} s in vain until {what}; there is {self.outputs}")
                self.front.news.wait(left)
        return self

    def ended(self, state: str = "completed") -> "Cell":
        """Wait until its card says how the job ended."""
        words = ("completed", "failed", "cancelled")
        self.until(lambda cell: any(f") {word}" in cell.card for word in words), "the job has ended")
        assert f") {state}" in self.card, self.card
        return self


class Frontend:
    """A kernel and somebody who listens to it.

    Args:
        folder: where the kernel runs.
        environment: of the kernel.
    """

    def __init__(self, folder: pathlib.Path, environment: dict[str, str]) -> None:
        self.news = threading.Condition()
        self._cells: dict[str, Cell] = {}
        self._displays: dict[str, list[dict[str, Any]]] = {}
        self.environment = environment
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder), env=environment)
        self._client: BlockingKernelClient = self.manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)
        self._open = True
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def send(self, code: str, *, headless: bool = False) -> Cell:
        """Run a cell and do not wait for it."""
        with self.news:
            ident = self._client.execute(code, allow_stdin=not headless)
            cell = self._cells[ident] = Cell(self, ident)
        return cell

    def run(self, code: str, *, headless: bool = False, timeout: float = 60.0) -> Cell:
        """Run a cell until the kernel has answered."""
        cell = self.send(code, headless=headless)
        self.finish(cell, timeout)
        return cell

    def finish(self, cell: Cell, timeout: float = 60.0) -> None:
        """Wait for the kernel's answer to a cell that was sent."""
        while cell.reply is None:
            message = self._client.get_shell_msg(timeout=timeout)
            answered = self._cells.get(message["parent_header"].get("msg_id"))
            if answered is not None:
                answered.reply = message["content"]
        # What a cell says during its run arrives before its "idle".
        cell.until(lambda cell: cell.idle, "the kernel has gone idle")

    def press(self, model: str, message: dict[str, Any]) -> None:
        """Send a message to a widget, as its buttons do."""
        content = {"comm_id": model, "data": {"method": "custom", "content": message}}
        self._client.shell_channel.send(self._client.session.msg("comm_msg", content))

    def interrupt(self) -> None:
        """Press the stop button."""
        self.manager.interrupt_kernel()

    def close(self) -> None:
        """End the kernel."""
        self._open = False
        self._thread.join()
        self._client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def _listen(self) -> None:
        while self._open:
            try:
                message = self._client.get_iopub_msg(timeout=0.2)
            except queue.Empty:
                continue
            with self.news:
                self._file(message["msg_type"], message["content"], message["parent_header"].get("msg_id", ""))
                self.news.notify_all()

    def _file(self, kind: str, content: dict[str, Any], parent: str) -> None:
        cell = self._cells.get(parent)
        if kind == "update_display_data":
            if cell is not None:
                cell.messages += 1
            for shown in self._displays.get(content["transient"]["display_id"], ()):
                shown["data"] = content["data"]
        elif kind == "status" and content["execution_state"] == "idle" and cell is not None:
            cell.idle = True
        elif cell is not None and kind in ("stream", "display_data", "execute_result", "error", "clear_output"):
            cell.take(kind, content)
            name = content.get("transient", {}).get("display_id")
            if name:
                self._displays.setdefault(name, []).append(cell.outputs[-1][1])
