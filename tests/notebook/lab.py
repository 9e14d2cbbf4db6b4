"""Drives a real JupyterLab in a headless Chromium: one server and one browser for all tests of a session.

The same server has Jupyter Notebook 7 as well, at other addresses. A notebook is opened in a page of its own; cells are
run by the applications' own commands, and what is asserted is what is on screen (`text`) or what would be saved
(`outputs`).
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Self

import nbformat
from playwright.sync_api import BrowserContext, Page, sync_playwright

CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Every cell stays on the page, and no news pops up over the buttons.
OVERRIDES = {
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}

PLACES = {"lab": "doc/tree", "notebook": "notebooks"}
"""Where the server's applications show a notebook: JupyterLab, and Jupyter Notebook 7."""

PANEL = """
const app = window.jupyterapp;
let panel = app.shell.currentWidget;
if (!panel || !panel.content || !panel.content.widgets) {
  for (const w of app.shell.widgets('main')) if (w.content && w.content.widgets) panel = w;
}
"""


def chromium() -> str | None:
    """The browser's executable, None when there is none."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def write_notebook(path: pathlib.Path, cells: list[str]) -> pathlib.Path:
    """A notebook of code cells."""
    v4 = nbformat.v4
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells], metadata=metadata)
    nbformat.write(notebook, path)
    return path


class Lab:
    """A JupyterLab server without a token on a free loopback port.

    Args:
        root: the folder it shows; kernels of a notebook run in the notebook's folder.
        environment: what the server and its kernels get besides this process's environment.
    """

    def __init__(self, root: pathlib.Path, environment: dict[str, str]) -> None:
        self.root = root
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        # Nothing of the user's own settings, and nothing into them.
        ours = {name: str(root / f".{name.lower()}") for name in ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_SETTINGS_DIR")}
        ours["JUPYTERLAB_WORKSPACES_DIR"] = str(root / ".workspaces")
        self._environment = {**os.environ, "JUPYTER_PLATFORM_DIRS": "1", **ours, **environment}
        self.log = root / "lab.log"

    def __enter__(self) -> Self:
        settings = self.root / ".app_settings"
        settings.mkdir()
        (settings / "overrides.json").write_text(json.dumps(OVERRIDES))
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--port={self.port}", "--ServerApp.port_retries=0", "--IdentityProvider.token="]
        command += ["--ServerApp.password=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={self.root}"]
        for app in ("LabApp", "JupyterNotebookApp"):
            command += [f"--{app}.app_settings_dir={settings}", f"--{app}.expose_app_in_browser=True"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=self._environment, cwd=self.root
            )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                self.api("/api")
                return self
            time.sleep(0.2)  # between two looks at whether it answers
        self._process.kill()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-3000:]}")

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.end_kernels()
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def api(self, path: str, method: str = "GET") -> Any:
        """Ask the server's REST interface."""
        with urllib.request.urlopen(urllib.request.Request(self.url + path, method=method), timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def end_kernels(self) -> None:
        """Shut down what runs."""
        for session in self.api("/api/sessions"):
            self.api(f"/api/sessions/{session['id']}", "DELETE")


class Notebook:
    """One notebook, open in a page.

    Args:
        lab: its server.
        page: where it is shown.
        name: its path below the server's root.
        app: one of `PLACES`.
    """

    def __init__(self, lab: Lab, page: Page, name: str, app: str = "lab") -> None:
        self.lab, self.page, self.name = lab, page, name
        self.console: list[str] = []
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.goto(f"{lab.url}/{PLACES[app]}/{name}")
        self._opened()

    @property
    def path(self) -> pathlib.Path:
        """Its file."""
        return self.lab.root / self.name

    def _opened(self) -> None:
        ready = "return panel?.sessionContext?.session?.kernel?.status === 'idle' && !!panel.content.model"
        self.until(lambda: self._quietly(ready), "the notebook is open and its kernel idle", 90)

    def reload(self) -> None:
        """Load the page anew; the kernel goes on."""
        self.page.reload()
        self._opened()

    def reopen(self) -> "Notebook":
        """Open the notebook in a new page; this one is closed already, or is left alone."""
        return Notebook(self.lab, self.page.context.new_page(), self.name)

    def restart(self) -> None:
        """Restart the kernel as the menu does; the page stays."""
        self.js("await panel.sessionContext.session.kernel.restart(); return 0")
        ready = "return panel.sessionContext.session.kernel.status === 'idle'"
        self.until(lambda: self.js(ready), "the kernel is idle again", 60)

    def _quietly(self, body: str) -> Any:
        try:
            return self.js(body)
        except Exception:  # the page is still loading
            return None

    def js(self, body: str, argument: Any = None) -> Any:
        """Run JavaScript with JupyterLab's `app` and the notebook's `panel` at hand."""
        return self.page.evaluate("async (arg) => {" + PANEL + body + "}", argument)

    def until(self, condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
        """Wait for a condition; fail with what was waited for."""
        deadline = time.monotonic() + timeout
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout:g} s in vain until {what}; console: {self.console[-5:]}")
            time.sleep(0.05)  # between two looks at the page

    def run(self, index: int, *, wait: bool = True) -> None:
        """Run a cell as Shift-Enter does; with `wait`, until the kernel has answered."""
        run = "panel.content.deselectAll(); panel.content.activeCellIndex = arg;"
        run += "const done = app.commands.execute('notebook:run-cell');"
        self.js(run + ("await done; return 0" if wait else "done.catch(() => {}); return 0"), index)

    def run_all(self) -> None:
        """Run all cells; returns when the kernel has answered to the last one."""
        self.js("await app.commands.execute('notebook:run-all-cells'); return 0")

    def text(self, index: int) -> str:
        """What is on screen below a cell."""
        found = "const n = panel.content.widgets[arg].node.querySelector('.jp-Cell-outputArea');"
        return str(self.js(found + "return n ? n.innerText : ''", index))

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """A cell's outputs as they would be saved."""
        found: list[dict[str, Any]] = self.js("return panel.content.widgets[arg].model.outputs.toJSON()", index)
        return found

    def wait_for(self, index: int, words: str, timeout: float = 30.0) -> None:
        """Wait until some words are on screen below a cell."""
        deadline = time.monotonic() + timeout
        while words not in self.text(index):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout:g} s for {words!r} below cell {index}:\n{self.text(index)}")
            time.sleep(0.05)  # between two looks at the page

    def cell(self, index: int) -> Any:
        """The cell's element, scrolled into view."""
        self.js("await panel.content.scrollToItem(arg); return 0", index)
        return self.page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{index}']")

    def change_theme(self, name: str) -> None:
        """Change how all pages of the server look; kept until it is changed back."""
        self.js("await app.commands.execute('apputils:change-theme', {theme: arg}); return 0", name)

    def interrupt(self) -> None:
        """Press the stop button."""
        self.js("await panel.sessionContext.session.kernel.interrupt(); return 0")

    def save(self) -> Any:
        """Save; gives the notebook as it is on disk."""
        self.js("await panel.context.save(); return 0")
        return nbformat.read(self.path, as_version=4)

    def screenshot(self, path: pathlib.Path) -> None:
        """A picture of what is on screen."""
        self.page.screenshot(path=str(path))


@contextlib.contextmanager
def browser(executable: str, profile: pathlib.Path) -> Iterator[BrowserContext]:
    """A headless Chromium that keeps what it has loaded and compiled: the next page opens in two thirds of the time."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=executable,
            args=CHROMIUM_OPTIONS,
            viewport={"width": 1100, "height": 1000},
        )
        try:
            yield found
        finally:
            found.close()
