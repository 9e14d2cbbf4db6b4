"""In a real browser: whatever a job shows looks as if its cell had run here, in the order in which it was shown."""

from collections.abc import Callable
from typing import Any

import pytest
from lab import Notebook

pytestmark = pytest.mark.timeout(180)

LOAD = "%load_ext cellq\nimport time"

SHOW = """%%enqueue job
import io, sys, time
import matplotlib.pyplot as plt
import pandas as pd
import ipywidgets
from IPython.display import HTML, SVG, Image, Latex, Markdown, clear_output, display
print('this is wiped away')
clear_output(wait=True)
print('first')
display(HTML('<em class="mine">html</em>'))
print('told in red', file=sys.stderr)
plt.figure(figsize=(1, 1)); plt.plot([1, 2]); plt.show()
display(Latex(r'$\\sqrt{x_1}$'))
display(SVG('<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><rect width="9" height="9"/></svg>'))
jpeg = io.BytesIO()
plt.figure(figsize=(1, 1)); plt.savefig(jpeg, format='jpeg'); plt.close()
display(Image(jpeg.getvalue(), format='jpeg'))
display(Markdown('**bold**'))
display(ipywidgets.IntSlider(value=7))
handle = display(HTML('<i>before</i>'), display_id=True)
print('last')
handle.update(HTML('<i class="mine">after</i>'))
pd.DataFrame({'column': [1, 2]})
"""

# What is below the cell, as a reader would name it, in order.
SEEN = """
const names = {
  '.cellq-card': 'card', 'em.mine': 'html', 'img[src^="data:image/png"]': 'png', 'img[src^="data:image/jpeg"]': 'jpeg',
  '.jp-RenderedSVG': 'svg', '.jp-RenderedLatex': 'latex', '.jp-RenderedMarkdown strong': 'markdown',
  'i.mine': 'updated', 'table': 'table', '.widget-slider': 'slider',
};
return [...panel.content.widgets[arg].node.querySelectorAll('.jp-OutputArea-output')].map((output) => {
  for (const [found, name] of Object.entries(names)) {
    if (output.matches(found) || output.querySelector(found)) return name;
  }
  return output.innerText.trim();
})"""


def test_everything_a_job_shows(open_notebook: Callable[..., Notebook], artifacts: Any) -> None:
    # The same cell in the notebook itself, beside it, is what it is to look like.
    notebook = open_notebook([LOAD, SHOW, SHOW.partition("\n")[2]])
    notebook.run(0)
    notebook.run(2)
    notebook.run(1)
    notebook.wait_for(1, "completed", 60)
    notebook.until(
        lambda: notebook.outputs(1)[-1]["output_type"] == "execute_result", "the last value is below its cell"
    )
    ready = "return panel.content.widgets[arg].node.querySelectorAll('.jp-RenderedLatex mjx-container').length"
    notebook.until(lambda: notebook.js(ready, 1), "the formula is set")
    notebook.until(lambda: "slider" in notebook.js(SEEN, 1), "the widget is home, and drawn")
    seen = notebook.js(SEEN, 1)
    notebook.page.set_viewport_size({"width": 1100, "height": 1800})
    notebook.cell(1)
    notebook.screenshot(artifacts / "output.png")
    shown = ["first", "html", "told in red", "png", "latex", "svg", "jpeg", "markdown", "slider", "updated", "last"]
    assert seen == ["card", *shown, "table"]
    assert notebook.js(SEEN, 2) == seen[1:], "it looks otherwise than in the notebook itself"
    saved = notebook.save().cells[1].outputs
    assert [output.output_type for output in saved[-2:]] == ["stream", "execute_result"]


def test_a_traceback_keeps_its_colours(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook([LOAD, "def inner(x): return 1 / x", "%%enqueue job\nprint('so far')\ninner(0)"])
    for index in range(3):
        notebook.run(index)
    notebook.wait_for(2, "ZeroDivisionError: division by zero")
    error = notebook.cell(2).locator("[data-mime-type='application/vnd.jupyter.stderr'], .jp-RenderedText").last
    assert error.locator("span.ansi-red-fg").count() > 0
    assert "----> 1 def inner(x): return 1 / x" in error.inner_text()
    assert "cellq" not in error.inner_text(), "the traceback shows the queue's own code"


def test_jobs_speak_at_once_each_below_its_cell_while_another_cell_blocks(
    open_notebook: Callable[..., Notebook], app: str
) -> None:
    # Each speaks only after the others have: they take turns, and all of them must get through.
    speak = (
        "%%enqueue {0}\nimport pathlib\n"
        "for i in range(5):\n"
        "    while not all(pathlib.Path(f'{{o}}{{i}}').exists() for o in 'ab' if i and o < '{0}'): time.sleep(0.01)\n"
        "    print('{0}', i)\n"
        "    pathlib.Path(f'{0}{{i}}').touch()\n"
        "    while not all(pathlib.Path(f'{{o}}{{i}}').exists() for o in 'ab'): time.sleep(0.01)\n"
        "    time.sleep(0.1)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)"
    )
    block = "while not (a.done() and b.done()): pass\nprint('free')"
    notebook = open_notebook([LOAD + "\n%workers start -n 2", speak.format("a"), speak.format("b"), block], app=app)
    for index in (0, 1, 2):
        notebook.run(index)
    notebook.run(3, wait=False)
    notebook.wait_for(1, "a 1")
    notebook.wait_for(2, "b 1")
    assert "free" not in notebook.text(3), "the output came only after the blocking cell"
    notebook.path.with_name("go").touch()
    notebook.wait_for(3, "free")
    for index, name in ((1, "a"), (2, "b")):
        notebook.wait_for(index, "completed")
        (said,) = [output["text"] for output in notebook.outputs(index) if output["output_type"] == "stream"]
        assert "".join(said) == "".join(f"{name} {i}\n" for i in range(5))


def test_a_hundred_thousand_lines(open_notebook: Callable[..., Notebook]) -> None:
    flood = "%%enqueue job\nfor i in range(100_000): print('line', i, 'of a hundred thousand')\n'said'"
    check = "log = job.logs()\nlog == ''.join(f'line {i} of a hundred thousand\\n' for i in range(100_000))"
    notebook = open_notebook([LOAD, "%%enqueue warm --wait\n1", flood, "print('answered')", check])
    notebook.run(0)
    notebook.run(1)
    watch = """
    window.gap = 0;
    let last = performance.now();
    const look = () => { const now = performance.now(); window.gap = Math.max(window.gap, now - last); last = now;
                         requestAnimationFrame(look); };
    look();
    return 0"""
    notebook.js(watch)
    notebook.run(2)
    notebook.wait_for(2, "line 0")
    run = "const began = performance.now(); await app.commands.execute('notebook:run-cell');"
    answer = "panel.content.deselectAll(); panel.content.activeCellIndex = 3;" + run
    took = notebook.js(answer + "return performance.now() - began")
    notebook.wait_for(2, "completed", 60)
    notebook.until(lambda: "'said'" in notebook.text(2), "the last value is shown")
    gap = notebook.js("return window.gap")
    print(f"100,000 lines: longest gap between two frames {gap:.0f} ms; the kernel answered in {took:.0f} ms")
    assert len(notebook.text(2)) < 120_000, "so much text makes any page slow"
    assert "the rest is in the log" in notebook.text(2)
    notebook.run(4)
    notebook.wait_for(4, "True")
