"""Front ends that can do less: Colab, pages that do not draw widgets, plain Python; and what `import cellq` costs."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from frontend import Frontend

pytestmark = pytest.mark.timeout(120)

LOAD = "%load_ext cellq"
TRACKED = "%%enqueue job\nimport cellq, time\nfor _ in cellq.track(range({0})): time.sleep(0.1)\nprint('said')\n{0} + 1"


def test_colab_gets_plain_html(new_front: Callable[..., Frontend]) -> None:
    front = new_front()
    front.run("import sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n" + LOAD)
    cell = front.run(TRACKED.format(12))
    (card,) = cell.of("display_data")
    assert set(card["data"]) == {"text/html", "text/plain"}
    assert "<script" not in card["data"]["text/html"]
    assert "<button" not in card["data"]["text/html"]
    cell.until(lambda cell: "/12" in cell.card, "the bar moves while the job runs")
    cell.ended().until(lambda cell: cell.value == "13", "the last value is there")
    assert cell.printed == "said\n"


def test_a_page_that_never_draws_the_widget_gets_plain_html(new_front: Callable[..., Frontend]) -> None:
    # As VS Code without the widgets' scripts. Nobody here answers "view".
    front = new_front()
    front.run(LOAD)
    cell = front.run(TRACKED.format(1000))
    (card,) = cell.of("display_data")
    assert "application/vnd.jupyter.widget-view+json" in card["data"]
    assert "cellq-card" in card["data"]["text/html"], "what such a page draws instead"
    cell.until(lambda cell: "/1,000" in cell.card, "the card has become plain HTML")
    assert set(cell.of("display_data")[0]["data"]) == {"text/html", "text/plain"}
    other = front.run("%%enqueue other\n1")
    assert set(other.of("display_data")[0]["data"]) == {"text/html", "text/plain"}, "the next one begins as such"
    other.ended()
    front.run("job.cancel()")
    cell.ended("cancelled")


@pytest.mark.parametrize("module", ["IPython", "ipykernel", "ipywidgets", "anywidget", "matplotlib", "numpy", "pandas"])
def test_importing_cellq_imports_no_notebook(module: str) -> None:
    code = f"import sys, cellq; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0, f"import cellq imports {module}"
