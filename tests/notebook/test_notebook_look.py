"""How cards look and sound: every state in both themes, contrast, focus, the names a screen reader says, no jumps."""

import pathlib
from collections.abc import Callable, Sequence

import pytest
from lab import Notebook
from playwright.sync_api import BrowserContext, Locator

from cellq.message import State
from cellq.notebook.cards.card import Bar, Clock, Face, page

pytestmark = pytest.mark.timeout(180)

LOAD = "%load_ext cellq\nimport time"

# Cells that bring every state to the screen at once; the worker has two slots.
GALLERY = [
    LOAD + "\n%workers start -n 2",
    "%%enqueue broken\nprint('reading')\nopen('nowhere.csv')",
    "%%enqueue done\nfrom tqdm.auto import tqdm\nfor _ in tqdm(range(20), desc='files'): pass\n'all well'",
    "%%enqueue later --delay 600\n1",
    "%%enqueue dropped --delay 600\n1",
    "%%enqueue training --retries 2\nimport cellq\nfrom tqdm.auto import tqdm\n"
    "if cellq.current_job().attempt == 1: raise OSError('<b>the disk</b> was away')\n"
    "print('epoch 1: loss 0.31')\n"
    "for epoch in tqdm(range(30), desc='epochs'):\n"
    "    for batch in (bar := tqdm(range(40), desc='batches', leave=False)):\n"
    "        time.sleep(0.02)\n        bar.set_postfix(loss=f'{1 / (epoch + 2):.2f}')",
    "%%enqueue stubborn\nimport cellq\n"
    "while True:\n    try:\n        for _ in cellq.track(iter(int, 1), unit='file'): time.sleep(0.05)\n"
    "    except KeyboardInterrupt: pass",
    "%%enqueue waiting\n1",
    "dropped.cancel(); stubborn.cancel()",
]

# The contrast (WCAG 2) of each piece of a card's text with what is behind it, colours blended as the page does.
CONTRAST = """(card) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (colours) => {
    canvas.fillStyle = "white";
    canvas.fillRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
      value /= 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = {};
  const texts = document.createTreeWalker(card, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || node.closest("[aria-hidden], style") || !node.checkVisibility()) continue;
    const behind = [];
    for (let one = node; one; one = one.parentElement) {
      behind.unshift(getComputedStyle(one).backgroundColor);
      if (getComputedStyle(one).opacity !== "1") throw new Error(`${one.className} is see-through`);
    }
    const [text, back] = [paint([...behind, getComputedStyle(node).color]), paint(behind)];
    const ratio = (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
    found[`${card.className.split(" ")[1]} ${node.className}: ${texts.currentNode.data.slice(0, 20)}`] = ratio;
  }
  return found;
}"""


def card(notebook: Notebook, index: int) -> Locator:
    found: Locator = notebook.cell(index).locator(".cellq-card")
    return found


def gallery(notebook: Notebook) -> None:
    """Bring all the states to the screen."""
    for index, state in ((0, None), (1, "failed"), (2, "completed"), (3, "scheduled"), (4, "scheduled")):
        notebook.run(index)
        if state:
            notebook.wait_for(index, state)
    notebook.run(5)
    notebook.wait_for(5, "batches")
    notebook.run(6)
    notebook.wait_for(6, "file/s")
    notebook.run(7)
    notebook.wait_for(7, "pending")
    notebook.wait_for(5, "1/30")
    notebook.wait_for(5, "· process ")


@pytest.mark.parametrize(
    ("app", "dark"), [("lab", False), ("lab", True), ("notebook", False)], ids=["light", "dark", "notebook7"]
)
def test_every_state_can_be_read(
    open_notebook: Callable[..., Notebook], artifacts: pathlib.Path, app: str, dark: bool
) -> None:
    notebook = open_notebook(GALLERY, app=app, dark=dark)
    name = "-".join([app, "dark" if dark else "light"])
    notebook.page.set_viewport_size({"width": 1100, "height": 1800})
    try:
        gallery(notebook)
        card(notebook, 1).get_by_role("button", name="Retry broken").wait_for()
        notebook.screenshot(artifacts / f"states-{name}-1.png")
        notebook.run(8)
        notebook.wait_for(6, "stopping")
        notebook.screenshot(artifacts / f"states-{name}-2.png")
        contrasts: dict[str, float] = {}
        for index in range(1, 8):
            contrasts |= card(notebook, index).evaluate(CONTRAST)
        poor = {what: round(ratio, 2) for what, ratio in contrasts.items() if ratio < 4.5}
        assert not poor, f"hard to read: {poor}"
        states = {what.split()[0] for what in contrasts}
        assert states == {"cellq-failed", "cellq-completed", "cellq-pending", "cellq-cancelled", "cellq-running"}
        assert any("cellq-button" in what for what in contrasts)
        notebook.wait_for(6, "cancelled")
        notebook.wait_for(7, "completed")
        notebook.screenshot(artifacts / f"states-{name}-3.png")
    finally:
        if dark:
            notebook.change_theme("JupyterLab Light")


def test_a_screen_reader_is_told_what_is_seen(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook(GALLERY)
    gallery(notebook)
    told = card(notebook, 5).aria_snapshot()
    for words in (
        'group "job training"',
        "status: training running",
        'progressbar "epochs"',
        'button "Cancel training"',
    ):
        assert words in told, told
    bar = notebook.cell(5).get_by_role("progressbar", name="epochs")
    assert bar.get_attribute("aria-valuetext") == bar.locator("+ span").inner_text()
    assert 0 < float(bar.get_attribute("aria-valuenow")) < 100
    endless = notebook.cell(6).get_by_role("progressbar")
    assert endless.get_attribute("aria-valuenow") is None
    # What changes each second is not said each second.
    said = notebook.cell(5).get_by_role("status")
    assert (said.get_attribute("aria-live"), said.get_attribute("aria-atomic")) == ("polite", "true")
    assert notebook.cell(5).locator("[aria-live] .cellq-clock").count() == 0
    notebook.run(8)
    notebook.wait_for(6, "stopping")
    asked = notebook.cell(6).get_by_role("button")
    assert asked.get_attribute("aria-label") == "Cancelling… stubborn"
    assert asked.get_attribute("aria-disabled") == "true"


def test_the_buttons_can_be_used_with_the_keyboard(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook([LOAD, "%%enqueue job\nprint('on it')\nwhile True: time.sleep(0.1)"])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "on it")
    cancel = notebook.cell(1).get_by_role("button", name="Cancel job")
    # From the cell into its output, as somebody without a mouse gets there.
    notebook.page.keyboard.press("Escape")
    for _ in range(12):
        notebook.page.keyboard.press("Tab")
        if cancel.evaluate("node => node === document.activeElement"):
            break
    else:
        pytest.fail("Tab does not reach the button")
    outline = cancel.evaluate("node => getComputedStyle(node).outlineStyle + getComputedStyle(node).outlineWidth")
    assert outline == "solid2px", "the focus cannot be seen"
    notebook.page.keyboard.press("Enter")
    notebook.wait_for(1, "cancelled")
    notebook.cell(1).get_by_role("button", name="Retry job").wait_for()
    held = "card => card === document.activeElement"
    notebook.until(lambda: card(notebook, 1).evaluate(held), "the focus stays with the card when its button goes")
    notebook.page.keyboard.press("Tab")
    notebook.page.keyboard.press("Enter")
    notebook.wait_for(1, "running")
    notebook.wait_for(1, "on it")


def test_the_card_does_not_jump(open_notebook: Callable[..., Notebook]) -> None:
    nested = (
        "%%enqueue job\nfrom tqdm.auto import tqdm\n"
        "for epoch in tqdm(range(6), desc='epochs'):\n"
        "    for batch in tqdm(range(20), desc='batches', leave=False): time.sleep(0.01)\n"
        "    time.sleep(0.1)"
    )
    notebook = open_notebook([LOAD, nested, nested.replace(", leave=False", "")])
    notebook.run(0)
    watch = """
    const area = panel.content.widgets[arg].node.querySelector('.jp-Cell-outputArea');
    const seen = window.seen = [];
    const look = () => {
      const card = area.querySelector('.cellq-card');
      if (card) {
        const bars = card.querySelectorAll('.cellq-track').length;
        const one = [bars > 1, card.className.split(' ')[1], card.getBoundingClientRect().height];
        if (JSON.stringify(seen.at(-1)) !== JSON.stringify(one)) seen.push(one);
      }
      requestAnimationFrame(look);
    };
    look();
    return 0"""
    notebook.js(watch, 1)
    notebook.run(1)
    notebook.wait_for(1, "completed")
    seen: Sequence[tuple[bool, str, float]] = notebook.js("return window.seen")
    first = next(i for i, (bars, _, _) in enumerate(seen) if bars)
    heights = {height for _, state, height in seen[first:] if state == "cellq-running"}
    assert len(heights) == 1, f"an inner bar that comes and goes changes the card's height: {seen}"
    ended = {height for _, state, height in seen if state == "cellq-completed"}
    assert len(ended) == 1, f"the plain HTML is not as high as the live card: {seen}"
    # The ended live card is on the screen for a moment only; the running one has the same rows and one more.
    assert heights == {height + 20 for height in ended}, (
        f"a row of the live card is not a row of the plain HTML: {seen}"
    )


@pytest.mark.parametrize("style", ["", "body { background: #1e1e1e; color: #ddd }"], ids=["light", "dark"])
def test_a_card_without_a_theme_can_be_read(chrome: BrowserContext, style: str) -> None:
    # As in a page that knows neither Jupyter's colours nor VS Code's: nbconvert's basic template, a blog.
    faces = [
        Face(
            "0" * 32,
            "0" * 8,
            "job",
            state,
            state.value,
            Clock("", 3.0, 0),
            facts=("a fact",),
            bars=(Bar("a", 0.3, "3/9"),),
        )
        for state in State
    ]
    plain = chrome.new_page()
    plain.set_content(f"<style>{style}</style>" + "".join(page(face) for face in faces))
    for found in plain.locator(".cellq-card").all():
        poor = {what: ratio for what, ratio in found.evaluate(CONTRAST).items() if ratio < 4.5}
        assert not poor, f"hard to read: {poor}"
    plain.close()
