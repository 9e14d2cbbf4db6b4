"""In IPython in a real terminal: jobs speak while somebody types, names arrive, failures and Ctrl-C are survived."""

import pathlib
import re
import sys
import time
from collections.abc import Iterator

import pexpect
import pytest

pytestmark = pytest.mark.timeout(120)

_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|[\x07\x08]")


class Terminal:
    """An `ipython` on a pseudo-terminal, as somebody sees it who types into it."""

    def __init__(self, folder: pathlib.Path, environment: dict[str, str]) -> None:
        command = ["-m", "IPython", "--no-banner", "--no-confirm-exit", "--colors=nocolor"]
        environment = environment | {
            "TERM": "xterm",
            "IPYTHONDIR": str(folder / "ipython"),
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
        self.process = pexpect.spawn(
            sys.executable,
            command,
            cwd=str(folder),
            env=environment,
            encoding="utf-8",
            dimensions=(50, 160),
            timeout=60,
        )
        self.seen = ""
        self.count = 0
        self.number = 1
        self.wait_for("In [1]:")

    def wait_for(self, words: str, timeout: float = 30.0) -> None:
        """Wait until words are on the terminal, behind what was there at the last `type`."""
        deadline = time.monotonic() + timeout
        while words not in self.text[self.count :]:
            if time.monotonic() > deadline or not self.process.isalive():
                raise AssertionError(f"waited in vain for {words!r}; there is:\n{self.text[self.count :]}")
            try:
                self.seen += self.process.read_nonblocking(4096, timeout=0.2)
            except pexpect.TIMEOUT:
                continue

    @property
    def text(self) -> str:
        """All it has printed, without what moves the cursor."""
        return _CODES.sub("", self.seen).replace("\r", "")

    def type(self, text: str) -> None:
        """Type without pressing Enter."""
        self.count = len(self.text)
        self.process.send(text)

    def run(self, code: str) -> None:
        """Run one line, until the next prompt."""
        self.type(code + "\r")
        self.prompt()

    def prompt(self) -> None:
        """Wait for the next prompt."""
        self.number += 1
        self.wait_for(f"In [{self.number}]:")

    def close(self) -> None:
        self.process.close(force=True)


@pytest.fixture
def terminal(tmp_path: pathlib.Path, environment: dict[str, str]) -> Iterator[Terminal]:
    one = Terminal(tmp_path, environment)
    one.run("%load_ext cellq")
    yield one
    one.close()


def enqueue(line: str, code: str) -> str:
    """A `%%enqueue` cell on one line; prompt_toolkit would indent the lines of a typed one."""
    return f"get_ipython().run_cell_magic('enqueue', {line!r}, {code!r})"


def test_a_job_speaks_above_the_line_that_is_typed(terminal: Terminal, tmp_path: pathlib.Path) -> None:
    wait = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)\n"
    terminal.run(enqueue("fit", wait + "print('said late')\nmade = 41\n'the value'"))
    terminal.type("made_here = 'half typ")
    terminal.wait_for("half typ")
    (tmp_path / "go").touch()
    terminal.wait_for("[fit] said late")
    terminal.wait_for("[fit] 'the value'")
    terminal.wait_for("completed")
    # The half-typed line is wiped away first (back to its begin, erase to the end), and is drawn again below.
    assert re.search(r"\x1b\[\d+D(\x1b\[0?m)?\x1b\[0?J[^\n]*\[fit\] said late", terminal.seen), (
        "it is mixed with what is typed"
    )
    terminal.type("ed'; print(made_here, made + 1)\r")
    terminal.wait_for("half typed 42")


def test_a_failure_and_a_waiting_cell(terminal: Terminal) -> None:
    terminal.run(enqueue("broken", "def inner(): return 1 / 0\ninner()"))
    terminal.wait_for("[broken] ZeroDivisionError: division by zero")
    assert "[broken]" in next(line for line in terminal.text.splitlines() if "Traceback (most recent" in line)
    terminal.wait_for("failed")

    terminal.type(enqueue("endless --wait", "import time\nprint('on it')\nwhile True: time.sleep(0.1)") + "\r")
    terminal.wait_for("[endless] on it")
    terminal.process.sendintr()
    terminal.wait_for("KeyboardInterrupt: interrupted: the cell no longer waits")
    terminal.prompt()
    terminal.run("print('state', endless.state)")
    terminal.wait_for("state running")
    terminal.run("print(endless.cancel().value)")
    terminal.wait_for("[endless] ⊘ endless")
    terminal.run("print('state', endless.state)")
    terminal.wait_for("state cancelled")
    assert terminal.process.isalive()
