"""In a real browser: the widgets that a cell made in a worker are drawn below it, and answer, once it has ended."""

import pathlib
from collections.abc import Callable

import pytest
from lab import Notebook

pytestmark = pytest.mark.timeout(120)

INTERACT = """%%enqueue
from ipywidgets import interact
factor = 3
@interact(x=(0, 20))
def triple(x=2):
    print('it is', factor * x)"""
OUTPUT = """%%enqueue
import ipywidgets
out = ipywidgets.Output()
display(out)
with out:
    print('into the widget')
slider = ipywidgets.IntSlider(value=7)
slider"""


def test_widgets_of_a_job_come_alive(open_notebook: Callable[..., Notebook], artifacts: pathlib.Path) -> None:
    notebook = open_notebook(["%load_ext cellq", INTERACT, OUTPUT, "slider.value = 9\nout.append_stdout('and more')"])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "it is 6")
    handle = notebook.cell(1).locator(".noUi-handle")
    notebook.until(lambda: handle.count() == 1, "the slider is drawn")
    handle.press("ArrowRight")
    notebook.wait_for(1, "it is 9")
    notebook.run(2)
    notebook.wait_for(2, "into the widget")
    notebook.until(lambda: "7" in notebook.text(2).split(), "the slider's value is drawn")
    notebook.run(3)
    notebook.until(lambda: "9" in notebook.text(2).split(), "it is the notebook's own slider")
    notebook.wait_for(2, "and more")
    notebook.screenshot(artifacts / "widgets.png")
