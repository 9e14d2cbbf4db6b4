"""From running a cell in JupyterLab to its first print on screen: a plain cell, and the same cell under `%%enqueue`.

A real JupyterLab in a headless Chromium; the page itself takes the time, from the command that Shift-Enter gives to the
frame in which the text is below the cell.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path

from figures import Line

sys.path.append(str(Path(__file__).parents[1] / "tests" / "notebook"))
from lab import Lab, Notebook, browser, chromium, write_notebook

_FIRST_PRINT = """
const [index, source, words] = arg;
const cell = panel.content.widgets[index];
cell.model.sharedModel.setSource(source);
panel.content.deselectAll();
panel.content.activeCellIndex = index;
const began = performance.now();
app.commands.execute('notebook:run-cell').catch(() => {});
while (!cell.outputArea.node.textContent.includes(words)) {
  await new Promise((next) => requestAnimationFrame(next));
}
return (performance.now() - began) / 1000;
"""


def measure(room: Path, *, quick: bool) -> list[Line]:
    """Seconds to the first print, with no worker running and with a warm one, beyond what the plain cell takes."""
    executable = chromium()
    if executable is None:
        raise RuntimeError("no Chromium: install it, or name it in the environment variable CHROMIUM")
    turns, repeats = (1, 5) if quick else (4, 10)
    cold, warm, plain = [], [], []
    environment = {"CELLQ_HOME": str(room / "home"), "CELLQ_IDLE_EXIT": "5"}
    root = room / "lab"
    root.mkdir()
    with Lab(root, environment) as lab, browser(executable) as chrome:
        for turn in range(turns):
            # Each in a folder of its own, where no worker has been started.
            folder = root / str(turn)
            folder.mkdir()
            write_notebook(folder / "n.ipynb", ["%load_ext cellq", ""])
            page = chrome.new_context().new_page()
            notebook = Notebook(lab, page, f"{turn}/n.ipynb")
            notebook.run(0)
            usual = statistics.median(_seconds(notebook, f"p{i}", "") for i in range(repeats))
            cold.append(_seconds(notebook, "c", "%%enqueue\n") - usual)
            background = statistics.median(_seconds(notebook, f"w{i}", "%%enqueue\n") for i in range(repeats))
            plain.append(usual)
            warm.append(background - usual)
            page.context.close()
            lab.end_kernels()
    what = "%%enqueue to the first print on screen, beyond the plain cell, {}".format
    return [
        Line(what="a plain cell to its print on screen", unit="s", ours=plain),
        Line(what=what("warm worker"), unit="s", ours=warm, goal=0.2, limit=0.35),
        Line(what=what("no worker, first use in the kernel"), unit="s", ours=cold, goal=1.5),
    ]


def _seconds(notebook: Notebook, words: str, header: str) -> float:
    words = f"printed {words} {os.urandom(4).hex()}"
    half = len(words) // 2  # the text must not be on screen because the cell's source is
    source = f"{header}print({words[:half]!r} + {words[half:]!r})"
    return float(notebook.js(_FIRST_PRINT, [1, source, words]))
