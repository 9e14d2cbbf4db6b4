"""Kernels, a JupyterLab and a browser for the tests of this folder; the workers that notebooks start end with them."""

import contextlib
import itertools
import os
import pathlib
import re
import subprocess
from collections.abc import Callable, Iterator

import psutil
import pytest
from frontend import Frontend
from lab import PLACES, Lab, Notebook, browser, chromium, write_notebook
from playwright.sync_api import BrowserContext

ROOT = pathlib.Path(__file__).parents[2]
QUICKSTART = ROOT / "notebooks" / "quickstart.ipynb"


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What kernels get: a user directory of their own, and workers that do not stay long.

    One thread for linear algebra: on a machine that is busy two that wait for each other are ten times slower than one.
    """
    home = tmp_path_factory.mktemp("home")
    ours = {"CELLQ_HOME": str(home), "CELLQ_IDLE_EXIT": "30", "JUPYTER_PLATFORM_DIRS": "1"}
    ours |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    yield {name: value for name, value in os.environ.items() if not name.startswith("CELLQ_")} | ours
    _end_workers(str(tmp_path_factory.getbasetemp()))


def _end_workers(folder: str) -> None:
    """End the workers of databases below a folder: they outlive the kernels that started them."""
    ours = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if "cellq" in command and "worker" in command and any(folder in word for word in command):
                process.terminate()
                ours.append(process)
    for process in psutil.wait_procs(ours, timeout=15)[1]:
        process.kill()


@pytest.fixture
def quickstart(tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the quickstart in an otherwise empty folder."""
    copy = tmp_path / "quickstart.ipynb"
    copy.write_text(QUICKSTART.read_text())
    return copy


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Frontend]:
    """A kernel with cellq loaded and a warm worker, for the tests of a module: none of them may disturb the others."""
    found = Frontend(tmp_path_factory.mktemp("front"), environment)
    try:
        found.run("%load_ext cellq")
        # Nobody here draws widgets; on a busy machine the kernel would come to know that, and send plain HTML instead.
        found.run("from cellq.notebook.cards import widgets\nwidgets._PATIENCE = float('inf')\ndel widgets")
        found.run("%%enqueue --wait\n1")
        yield found
    finally:
        found.close()


@pytest.fixture
def new_front(tmp_path: pathlib.Path, environment: dict[str, str]) -> Iterator[Callable[..., Frontend]]:
    """Makes kernels for one test, in an empty folder."""
    made: list[Frontend] = []

    def make(**more: str) -> Frontend:
        made.append(Frontend(tmp_path, environment | more))
        return made[-1]

    yield make
    for one in made:
        one.close()


# ------------------------------------------------------------------------------------------- in the browser


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab"), environment) as server:
        yield server


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """The browser. In CI it has to be there.

    Not for the whole session: while Playwright is in use an event loop runs in the main thread, and no other test could
    run its own.
    """
    executable = chromium()
    if executable is None:
        reason = "no Chromium: install it, or name it in the environment variable CHROMIUM"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    subprocess.run([executable, "--version"], check=True, stdout=subprocess.DEVNULL)
    with browser(executable, tmp_path_factory.getbasetemp() / "chromium") as found:
        yield found


@pytest.fixture(params=sorted(PLACES))
def app(request: pytest.FixtureRequest) -> str:
    """An application that shows notebooks; a test that takes this runs in each of them."""
    return str(request.param)


@pytest.fixture
def open_notebook(
    chrome: BrowserContext, lab: Lab, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Notebook]]:
    """Opens notebooks made of cells or copied, each in a folder of its own; their kernels end with the test."""
    made = itertools.count()

    def open_one(
        cells: list[str] | pathlib.Path, *, app: str = "lab", dark: bool = False, broken: bool = False
    ) -> Notebook:
        folder = lab.root / re.sub(r"\W+", "-", f"{request.node.name}-{next(made)}")
        folder.mkdir()
        path = folder / "notebook.ipynb"
        if isinstance(cells, pathlib.Path):
            path.write_text(cells.read_text())
        else:
            write_notebook(path, cells)
        page = chrome.new_page()
        if broken:  # a server without anywidget
            page.route("**/extensions/anywidget/**", lambda route: route.abort())
        notebook = Notebook(lab, page, str(path.relative_to(lab.root)), app)
        if dark:
            notebook.change_theme("JupyterLab Dark")
        return notebook

    yield open_one
    for page in chrome.pages[1:]:  # with its first page the browser would go
        page.close()
    lab.end_kernels()


@pytest.fixture(scope="session")
def artifacts() -> pathlib.Path:
    """Where pictures are kept."""
    folder = ROOT / "artifacts"
    folder.mkdir(exist_ok=True)
    return folder
