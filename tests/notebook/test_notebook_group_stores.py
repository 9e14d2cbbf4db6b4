"""The card of a group comes back after a kernel restart also from stores that want a password, or are not the default.

The page is played: what it tells a kernel is said to the kernel's `Pages`, and what those would send to it is noted.
"""

import ast
import json
import pathlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from frontend import Cell, Frontend

from servers import Server

PASSWORD = "sesame-and-nothing-else"

PAGE = """
from cellq.notebook import session_of
from cellq.notebook.output.pages import Page
pages = session_of(get_ipython()).pages
shown = []
pages.send = lambda page, name, *_: shown.append(name)
for listener in pages._listeners:
    listener(Page("page", [], [], {names!r}))
print(shown)
"""


@pytest.fixture
def urls(redis_server: Server, redis_part: Callable[[], AbstractContextManager[str]]) -> Iterator[list[str]]:
    """Two parts of a server for somebody who has to tell who it is."""
    with redis_server.client() as client, redis_part() as one, redis_part() as other:
        client.acl_setuser(
            "bea", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], channels=["*"], categories=["+@all"]
        )
        yield [url.replace("//", f"//bea:{PASSWORD}@") for url in (one, other)]
        client.acl_deluser("bea")


def name_of(cell: Cell) -> str:
    """What the card of a group is called."""
    (shown,) = cell.of("display_data")
    return str(shown["data"]["application/vnd.jupyter.widget-view+json"]["model_id"])


def test_groups_of_other_stores_come_back(
    new_front: Callable[..., Frontend], urls: list[str], environment: dict[str, str], tmp_path: pathlib.Path
) -> None:
    default, other = urls
    stores = {"None": "default", repr(other): "another part", repr(str(tmp_path / "other.db")): "a file"}
    surroundings = {"CELLQ_URL": default, "JPY_SESSION_NAME": str(tmp_path / "work.ipynb")}
    front = new_front(**surroundings)
    front.run("%load_ext cellq\nimport cellq")
    names = {
        told: name_of(front.run(f"jobs = cellq.Queue({store}, 'nobodys').options(delay=99).map(abs, [1, 2])\njobs"))
        for store, told in stores.items()
    }
    front.manager.shutdown_kernel(now=True)

    after = new_front(**surroundings)
    after.run("%load_ext cellq\nimport cellq")
    at_once = ast.literal_eval(after.run(PAGE.format(names=list(names.values()))).printed)
    assert sorted(at_once) == sorted([names["default"], names["a file"]])
    after.run(f"q = cellq.Queue({other!r})")
    assert after.run("print(shown[-1])").printed.strip() == names["another part"]

    kept = [path.read_text() for path in pathlib.Path(environment["CELLQ_HOME"]).glob("groups/*/*.json")]
    assert any(json.loads(one)["url"].startswith("redis://bea:***@") for one in kept)
    assert [one for one in kept if PASSWORD in one] == []
