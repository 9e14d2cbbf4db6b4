"""Pins what completes a module that is known in part, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellq.wire.partial import Partial


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "helper.py").write_text("STEP = 1\ndef rest(): return STEP\nprint('is run')\n")
    return tmp_path


def test_what_came_stays_and_the_rest_is_of_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = Partial("helper")
    vars(module)["STEP"] = 10
    assert module.rest() == 10
    assert capsys.readouterr().out == ""


def test_what_the_file_has_not_is_missing(folder: Path) -> None:
    with pytest.raises(AttributeError, match="module 'helper' has no attribute 'nothing'"):
        _ = Partial("helper").nothing


def test_a_file_that_raises_takes_nothing_away(folder: Path) -> None:
    (folder / "helper.py").write_text("STEP = 1\nraise ValueError('no')\n")
    module = Partial("helper")
    vars(module)["STEP"] = 10
    with pytest.raises(ValueError, match="no"):
        _ = module.rest
    assert vars(module)["STEP"] == 10


def test_a_file_of_the_same_last_name_is_not_taken_for_a_module_of_a_package(folder: Path) -> None:
    module = Partial("package.helper")
    with pytest.raises(AttributeError):
        _ = module.rest
    assert "STEP" not in vars(module)


@pytest.mark.parametrize(("who", "runs_it"), [("pickle", False), ("__main__", True)])
def test_who_looks_through_all_modules_runs_none(folder: Path, who: str, runs_it: bool) -> None:
    module = Partial("helper")
    space = {"__name__": who, "module": module}
    exec("found = hasattr(module, 'rest')", space)
    assert (space["found"], "STEP" in vars(module)) == (runs_it, runs_it)
