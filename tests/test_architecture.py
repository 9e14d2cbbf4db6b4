"""The house rules of DESIGN: imports point down only, no cycle, no file over 500 lines.

Imports are read from the syntax tree, so that typing-only and in-function ones count as well.
"""

import ast
import pathlib

import pytest

SOURCE = pathlib.Path(__file__).parent.parent / "src" / "cellq"

# Each room and the rooms below it that it may use. Whoever is not named must not be imported.
GROUND = {"call", "cron", "errors", "held", "here", "ids", "options", "message", "settings", "timetable"}
MAY_IMPORT = {
    "call": {"ids"},
    "cron": set(),
    "errors": set(),
    "held": {"message"},
    "here": set(),
    "ids": set(),
    "options": {"ids"},
    "message": {"ids", "options"},
    "settings": {"errors"},
    "timetable": {"cron", "ids", "message", "options"},
    "wire": GROUND,
    "frames": GROUND,
    "cell": GROUND | {"wire"},
    "store": GROUND,
    "client": GROUND | {"wire", "store"},
    "runner": GROUND | {"wire", "frames", "cell"},
    "worker": GROUND | {"store", "frames"},
    "app": GROUND | {"store", "client", "worker"},
    "notebook": GROUND | {"client", "cell", "worker.launch"},
    "cli": GROUND | {"store", "client", "app", "worker.launch"},
    "testing": GROUND | {"wire", "store", "frames", "client", "runner", "worker", "app"},
    "__main__": {"cli"},
    "__init__": GROUND | {"client", "app", "notebook", "runner.context", "worker.middleware"},
}


def modules() -> dict[str, pathlib.Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path
    return found


MODULES = modules()


def imports_of(path: pathlib.Path) -> set[str]:
    """Names of cellq modules that a file imports, without the leading `cellq.`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("import_module", "importlib.import_module")
            and isinstance(node.args[0], ast.Constant)
        ):
            names = [node.args[0].value]
        else:
            continue
        for name in names:
            if name == "cellq":
                found.add("__init__")
            elif name.startswith("cellq."):
                rest = name.removeprefix("cellq.")
                while rest and rest not in MODULES:
                    rest = rest.rpartition(".")[0]
                found.add(rest or "__init__")
    return found


GRAPH = {name: imports_of(path) - {name} for name, path in MODULES.items()}


def room(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_down_only(name: str) -> None:
    allowed = MAY_IMPORT[room(name)] | {room(name)}
    wrong = {
        other for other in GRAPH[name] if not any(other == place or other.startswith(f"{place}.") for place in allowed)
    }
    assert not wrong, f"cellq.{name} must not import {sorted(wrong)}"


def test_there_is_no_cycle() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, "import cycle: " + " -> ".join((*path, name))
        if name not in done:
            for other in sorted(GRAPH[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in sorted(GRAPH):
        visit(name, ())


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_file_is_longer_than_500_lines(name: str) -> None:
    lines = len(MODULES[name].read_text().splitlines())
    assert lines <= 500, f"cellq.{name} has {lines} lines: it is two rooms by now"


def test_runtime_files_beside_the_code_keep_the_limit_too() -> None:
    long = {
        path.name: len(path.read_text().splitlines())
        for pattern in ("*.sql", "*.js", "*.css", "*.lua")
        for path in SOURCE.rglob(pattern)
    }
    assert all(lines <= 500 for lines in long.values()), long
