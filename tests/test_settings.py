"""Where things are: the store's URL and the secret, by argument, environment and default."""

import subprocess
import sys
from pathlib import Path

import pytest

from cellq import settings
from cellq.errors import CellqError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CELLQ_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CELLQ_SECRET", raising=False)
    return tmp_path / "home"


def test_the_secret_is_made_once_and_for_its_owner_only(home: Path) -> None:
    first = settings.secret()
    assert len(first) >= 32
    assert settings.secret() == first
    assert (home / "secret").stat().st_mode & 0o777 == 0o600


def test_programs_that_start_at_once_agree_on_one_secret(home: Path) -> None:
    program = "from cellq import settings; print(settings.secret().decode())"
    started = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert len({process.communicate()[0] for process in started}) == 1
    assert [path.name for path in home.iterdir()] == ["secret"]


def test_a_secret_that_others_can_read_is_refused(home: Path) -> None:
    settings.secret()
    (home / "secret").chmod(0o644)
    with pytest.raises(CellqError, match="chmod 600"):
        settings.secret()


def test_a_damaged_secret_is_refused(home: Path) -> None:
    settings.secret()
    (home / "secret").write_text("x")
    with pytest.raises(CellqError, match="damaged"):
        settings.secret()


def test_the_environments_secret_goes_first_and_must_be_long(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLQ_SECRET", "a secret of enough characters")
    assert settings.secret() == b"a secret of enough characters"
    assert not home.exists()
    monkeypatch.setenv("CELLQ_SECRET", "short")
    with pytest.raises(CellqError, match="CELLQ_SECRET has 5 characters"):
        settings.secret()


def test_a_url_means_the_same_in_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CELLQ_URL", raising=False)
    here = f"sqlite:///{tmp_path.as_posix()}"
    assert settings.store_url() == f"{here}/.cellq/jobs.db"
    assert settings.store_url("jobs.db") == f"{here}/jobs.db"
    assert settings.store_url(tmp_path / "jobs.db") == f"{here}/jobs.db"
    assert settings.store_url("sqlite:///jobs.db") == f"{here}/jobs.db"
    assert settings.store_url(f"{here}/jobs.db") == f"{here}/jobs.db"
    assert settings.sqlite_path(settings.store_url()) == tmp_path / ".cellq" / "jobs.db"
    monkeypatch.setenv("CELLQ_URL", "sqlite:///other.db")
    assert settings.store_url() == f"{here}/other.db"
    assert settings.store_url("redis://host:6379/0") == "redis://host:6379/0"


@pytest.mark.parametrize("bad", ["", "sqlite://jobs.db", "sqlite:///", "mysql://host/db"])
def test_a_bad_url_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"URL|sqlite|known stores"):
        settings.store_url(bad)


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(TypeError, match="URL"):
        settings.store_url(7)  # type: ignore[arg-type]
