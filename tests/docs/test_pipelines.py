"""docs/pipelines.md: its program runs as it stands there, and each expression gives what the page says."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import cellq
from pages import blocks, read_page

BLOCKS = blocks(read_page("pipelines.md"))
SAYS = "  # → "


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_the_program_of_the_page(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLQ_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CELLQ_SECRET", raising=False)
    monkeypatch.setenv("CELLQ_URL", f"{tmp_path}/jobs.db" if kind == "sqlite" else request.getfixturevalue("redis_url"))
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "__main__"}
    with cellq.Worker(slots=2, concurrency=1):
        for block in BLOCKS:
            run(block, space)
    space["q"].close()


def run(block: str, space: dict[str, Any]) -> None:
    """Run a block; a line that says what it gives must give that."""
    lines = block.splitlines()
    for statement in ast.parse(block).body:
        text = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
        _, says, expected = text.partition(SAYS)
        if says:
            given = eval(text, space)
            assert given == ast.literal_eval(expected), text
        else:
            exec(compile(text, "pipelines.md", "exec"), space)


def test_the_page_says_what_its_examples_give() -> None:
    assert sum(block.count(SAYS) for block in BLOCKS) >= 8
