"""Which names a cell reads and writes.

The compiler is asked, not the syntax: every top-level statement is compiled on its own, and the byte code says which
names are loaded, stored and deleted at module level. So each rule of Python's scopes (comprehensions, class bodies,
`global`, walrus, match, decorators, f-strings, top-level await) is Python's own.

    cell text ── IPython's transforms ──▶ ast ── one statement at a time ──▶ code object ──▶ loads, stores
                                           └── code inside magic lines (%time f(x), !ls {d}) is looked at likewise

A name that is loaded is *read* unless a statement before it has bound it for sure, and only *touched* when a binding
before it is conditional (`if`, `try`, a loop): what is read must travel, what is touched travels when it can. The body
of a function defined in the cell counts where its name is used, since it runs no earlier.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import dis
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType
from typing import Any

from cellq import here

LOADS = frozenset({"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"})
DELETES = frozenset({"DELETE_NAME", "DELETE_GLOBAL"})
ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "IMPORT_FROM", "LOAD_SUPER_ATTR"})

CODE_MAGICS = frozenset({"time", "timeit", "prun", "memit", "mprun", "lprun", "capture", "debug", "pdb"})
"""Magics whose line or body is Python code that runs in the notebook's namespace."""

DYNAMIC = frozenset(
    {"eval", "exec", "globals", "locals", "vars", "compile", "query", "user_ns", "ev", "from_formula", "sqldf", "sql"}
    | {"ols", "glm", "logit", "probit", "mixedlm", "gls", "wls", "dmatrix", "dmatrices"}
    | {"dir", "__main__", "testmod", "run_docstring_examples", "loadTestsFromModule", "get_type_hints"}
)
"""Names and attributes that let code look names up at run time."""

PICKLERS = frozenset({"pickle", "joblib", "shelve", "dill", "read_pickle", "Unpickler"})
"""Names and attributes that let code look up classes and functions of the notebook, which it does not mention."""

DYNAMIC_MAGICS = frozenset({"run", "sql", "R", "macro", "rerun", "recall", "who", "who_ls", "whos"})
"""Magics that look names up, or whose code is elsewhere."""

TEXT_MAGICS = frozenset(
    {"bash", "sh", "script", "perl", "ruby", "python", "python2", "python3", "pypy", "system", "sx", "!"}
    | {"html", "HTML", "svg", "SVG", "javascript", "js", "latex", "markdown", "writefile", "file"}
)
"""Magics to which the lines below them are text, or code for another process."""

SHELL_NAMES = frozenset(
    {"In", "Out", "_ih", "_oh", "_dh", "get_ipython", "exit", "quit"}
    | {"__name__", "__doc__", "__package__", "__loader__", "__spec__", "__builtin__", "__builtins__"}
    | {"__file__", "__session__", "__vsc_ipynb_file__", "__warningregistry__", "__annotations__"}
)
"""Names that belong to the shell of each side and never travel."""

_SHELL_HISTORY = frozenset({"In", "Out", "_ih", "_oh"})
_WORD = re.compile(r"(?<![\w.])[^\W\d]\w*")
_HISTORY = re.compile(r"_+|_i+|_i?\d+")
_SYNTAX = re.compile(r"(?m)^\s*[%!?]|\?\s*$|=\s*[%!]")  # what only IPython understands
_MAX_LITERAL = 100_000  # characters of one text constant that are searched for names
_FUTURES = {name: getattr(__future__, name).compiler_flag for name in __future__.all_feature_names}
_SURE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Import, ast.ImportFrom, ast.Expr, ast.With, ast.AsyncWith)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def is_shell_name(name: str) -> bool:
    """True for what IPython itself keeps in the namespace: the history, `_`, `_3`, `get_ipython`."""
    return name in SHELL_NAMES or _HISTORY.fullmatch(name) is not None


def is_output(name: str) -> bool:
    """True for the history among them, which a cell may read: `_`, `__`, `_3`, `Out`, `In`, `_i`."""
    return name in _SHELL_HISTORY or _HISTORY.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class CodeNames:
    """The names one code object uses at module level, with the code nested in it."""

    loads: tuple[str, ...] = ()  # in order, before any store of the same name in this code
    touched: frozenset[str] = frozenset()  # loaded after a store of the same name in this code
    stores: frozenset[str] = frozenset()
    deletes: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def code_names(code: CodeType, bodies: bool = True) -> CodeNames:
    """What a code object and everything nested in it loads and stores at module level.

    Args:
        bodies: with False, the bodies of functions are left out (class bodies and comprehensions are not).
    """
    loads: dict[str, None] = {}
    touched: set[str] = set()
    stores: set[str] = set()
    deletes: set[str] = set()
    attributes: set[str] = set()
    texts: list[str] = []
    # A class body (and a module) uses STORE_NAME; only the module's are names of the namespace.
    class_body = not code.co_flags & inspect.CO_OPTIMIZED and code.co_name != "<module>"
    own: set[str] = set()
    for step in dis.get_instructions(code):
        operation, name = step.opname, step.argval
        if operation in LOADS:
            if name in own:
                continue
            if name in stores:
                touched.add(name)
            else:
                loads[name] = None
        elif operation == "STORE_NAME":
            (own if class_body else stores).add(name)
        elif operation == "STORE_GLOBAL":
            stores.add(name)
        elif operation in DELETES and name not in own:
            deletes.add(name)
        elif operation in ATTRIBUTES:
            attributes.add(name)
        elif operation == "IMPORT_NAME":
            attributes.update(name.split("."))
    for constant in _constants(code.co_consts):
        if isinstance(constant, str):
            texts.append(constant)
        elif isinstance(constant, CodeType):
            inner = code_names(constant, bodies)
            attributes |= inner.attributes
            if not bodies and _is_body(constant):
                continue
            loads.update(dict.fromkeys(name for name in inner.loads if name not in stores))
            touched |= inner.touched | (set(inner.loads) & stores)
            stores |= inner.stores
            deletes |= inner.deletes
            texts.extend(inner.texts)
    return CodeNames(
        tuple(loads), frozenset(touched), frozenset(stores), frozenset(deletes), frozenset(attributes), tuple(texts)
    )


def _is_body(code: CodeType) -> bool:
    """The body of a `def`: optimised code with a name of its own."""
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and not code.co_name.startswith("<")


def _constants(constants: Iterable[object]) -> Iterator[object]:
    for constant in constants:
        if isinstance(constant, tuple | frozenset):
            yield from _constants(constant)
        else:
            yield constant


@dataclass(frozen=True, slots=True)
class CellNames:
    """What one cell does with the names of the notebook.

    Attributes:
        reads: names it loads before it has bound them; they must be there.
        touched: names it may load (bound only conditionally before, or a word in a magic line).
        writes: names it binds, also through `global` in its own functions.
        deletes: names it deletes.
        attributes: every attribute name it mentions.
        words: identifiers inside its text constants: formulas, queries, code for `eval`.
        dynamic: it may look names up at run time.
        star: it has a star import, so it binds names that nobody can see here.
        magics: names of the magics it calls.
        stores: dotted names that it assigns to or deletes ("pd.DataFrame.shout"); those whose first part it imports
            itself also as "pandas:DataFrame.shout", with the module.
    """

    reads: frozenset[str] = frozenset()
    touched: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    deletes: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    dynamic: bool = False
    star: bool = False
    magics: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()


def analyse(source: str, *, transform: bool = True, flags: int = 0) -> CellNames:
    """The names a cell reads and writes.

    Args:
        source: the cell's text, without the line that enqueues it.
        transform: translate IPython's syntax first (magics, `!`, `?`); without IPython plain Python is expected.
        flags: compiler flags of `from __future__` imports that earlier cells made.

    Raises:
        SyntaxError: it is not a cell that could run.
    """
    walk = _Walk(flags=flags)
    walk.cell(_python(source) if transform else source)
    return CellNames(
        reads=frozenset(walk.reads - SHELL_NAMES | walk.reads & _SHELL_HISTORY),
        touched=frozenset(walk.touched - walk.reads - SHELL_NAMES),
        writes=frozenset(walk.writes),
        deletes=frozenset(walk.deletes),
        attributes=frozenset(walk.attributes),
        words=frozenset(walk.words),
        dynamic=not DYNAMIC.isdisjoint(walk.attributes | walk.reads | walk.touched) or walk.formula,
        star=walk.star,
        magics=frozenset(walk.magics),
        stores=frozenset(walk.stores | walk.imported_stores()),
    )


def dotted_stores(source: str) -> frozenset[str]:
    """The dotted names that plain Python code assigns to or deletes; none when it does not compile."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return frozenset()
    return frozenset(filter(None, map(_dotted, ast.walk(tree))))


def _dotted(node: ast.AST) -> str:
    if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Load):
        return ""
    steps: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        steps.append(inner.attr)
        inner = inner.value
    return ".".join([inner.id, *reversed(steps)]) if isinstance(inner, ast.Name) else ""


def _python(source: str) -> str:
    """The cell as Python code, by the shell's own transforms where there is a shell."""
    if "IPython" not in sys.modules and not _SYNTAX.search(source):
        return source
    try:
        from IPython.core.inputtransformer2 import TransformerManager
    except ImportError:
        return source
    shell = here.shell()
    transform: Any = TransformerManager if shell is None else lambda: shell
    return str(transform().transform_cell(source))


@dataclass
class _Walk:
    """The state of one analysis: what is bound so far, what has been read so far."""

    flags: int = 0
    reads: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    deletes: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    magics: set[str] = field(default_factory=set)
    stores: set[str] = field(default_factory=set)
    homes: dict[str, str] = field(default_factory=dict)  # of names that it imports: "module:"
    formula: bool = False  # it holds text or magics that look names up
    star: bool = False
    bound: set[str] = field(default_factory=set)
    perhaps: set[str] = field(default_factory=set)
    bodies: dict[str, CodeNames] = field(default_factory=dict)  # functions of this cell that nobody used yet

    def cell(self, python: str) -> None:
        for statement in ast.parse(python).body:
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                for alias in statement.names:
                    self.flags |= _FUTURES.get(alias.name, 0)
                continue  # compiled alone it would be fine, but it must stay first in a file
            self.statement(statement)

    def statement(self, statement: ast.stmt) -> None:
        for node in ast.walk(statement):
            if store := _dotted(node):
                self.stores.add(store)
            elif isinstance(node, ast.Call):
                self.magic(node)
                self.formula = self.formula or ast.unparse(node.func) == "unittest.main"  # runs what `__main__` holds
            elif isinstance(node, ast.Import):
                for name in node.names:
                    home = name.name if name.asname else name.name.partition(".")[0]
                    self.homes[name.asname or home] = f"{home}:"
            elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                self.star = True
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                self.homes |= {name.asname or name.name: f"{node.module}:{name.name}." for name in node.names}
            elif isinstance(node, ast.AnnAssign) and node.value is None and isinstance(node.target, ast.Name):
                self.touched.add(node.target.id)
        module = ast.Module([statement], [])
        flags = self.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(module, "<cell>", "exec", flags, dont_inherit=True)
        whole = code_names(code)
        delayed = isinstance(statement, _DEFINITIONS) and not statement.decorator_list
        now = code_names(code, False) if delayed else whole
        self.load(now)
        self.attributes |= whole.attributes
        self.texts(whole.texts)
        if isinstance(statement, _DEFINITIONS) and delayed:
            if statement.name in self.reads | self.touched:  # whoever calls it stands above, and counts as having run
                self.load(whole)
            else:
                self.bodies[statement.name] = whole
        if self.flags & _FUTURES["annotations"]:
            self.annotations(statement)
        self.writes |= whole.stores
        self.deletes |= now.deletes
        if isinstance(statement, _SURE + _DEFINITIONS):
            self.bound |= now.stores
        else:
            self.perhaps |= now.stores
        self.bound -= now.deletes

    def imported_stores(self) -> set[str]:
        parts = (store.partition(".") for store in self.stores)
        return {self.homes[first] + rest for first, _, rest in parts if first in self.homes}

    def load(self, names: CodeNames) -> None:
        for name in names.loads:
            if name in self.bodies:
                self.load(self.bodies.pop(name))
            elif name in self.bound:
                continue
            elif name in self.perhaps:
                self.touched.add(name)
            else:
                self.reads.add(name)
        self.touched |= names.touched - self.bound
        for name in names.touched & self.bodies.keys():
            self.load(self.bodies.pop(name))
        for name in names.deletes - self.bound:
            (self.touched if name in self.perhaps or name in names.stores else self.reads).add(name)

    def annotations(self, statement: ast.stmt) -> None:
        """Annotations that are kept as text: what makes a class of them (`dataclass`) looks their names up."""
        for node in ast.walk(statement):
            text = getattr(node, "annotation", None) or getattr(node, "returns", None)
            if isinstance(text, ast.expr):
                names = {part.id for part in ast.walk(text) if isinstance(part, ast.Name)}
                self.touched |= names - self.bound

    def texts(self, texts: Iterable[str]) -> None:
        for text in texts:
            if len(text) <= _MAX_LITERAL:
                self.words.update(_WORD.findall(text))
                self.formula = self.formula or "~" in text or re.search(r"@\w", text) is not None

    def magic(self, call: ast.Call) -> None:
        """Look into the text arguments of `get_ipython().run_line_magic(...)`, `.system(...)` and their kind."""
        method = call.func
        if not (isinstance(method, ast.Attribute) and isinstance(method.value, ast.Call)):
            return
        shell = method.value.func
        if not (isinstance(shell, ast.Name) and shell.id == "get_ipython"):
            return
        texts = [node.value for node in call.args if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        if len(texts) != len(call.args) or not texts:
            return
        if method.attr in ("system", "getoutput"):
            self.expansions(texts[0])
        elif method.attr in ("run_line_magic", "run_cell_magic"):
            name, *rest = texts
            self.magics.add(name)
            self.formula = self.formula or name in DYNAMIC_MAGICS
            if name in CODE_MAGICS:
                line = rest[0] if rest else ""
                if method.attr == "run_line_magic" or name != "capture":
                    self.embedded(_without_options(line), name)
                else:
                    self.writes.update(word for word in line.split() if word.isidentifier())
                if len(rest) > 1:
                    self.embedded(rest[1], name)
            else:  # somebody's own magic: it may run what is below it, and look up whatever it likes
                self.formula = self.formula or (len(rest) > 1 and name not in TEXT_MAGICS)
                self.expansions(rest[0] if rest else "")
                for text in rest:
                    self.touched.update(_WORD.findall(text))

    def embedded(self, source: str, magic: str) -> None:
        """Python code inside a magic: its names count as if it stood in the cell."""
        try:
            self.cell(_python(source))
        except SyntaxError:
            self.touched.update(_WORD.findall(source))

    def expansions(self, text: str) -> None:
        """`{expression}` and `$name` in a line that IPython expands."""
        for expression in re.findall(r"\{([^{}]+)\}", text):
            try:
                code = compile(expression.strip(), "<expansion>", "eval", dont_inherit=True)
            except (SyntaxError, ValueError):
                continue
            self.load(code_names(code))
        self.touched.update(re.findall(r"\$([^\W\d]\w*)", text))


def _without_options(line: str) -> str:
    """The code of a magic line: what follows its leading options (`-n 10 -r 3 f(x)`)."""
    rest = line.strip()
    while match := re.match(r"-{1,2}[A-Za-z][\w-]*(?:[= ]?\d+)?(?:\s+|$)", rest):
        rest = rest[match.end() :]
    return rest


def unknown(names: CellNames, namespace: Mapping[str, object]) -> frozenset[str]:
    """Names the cell reads that nothing defines: not the notebook, not Python, not the cell itself."""
    return frozenset(
        name
        for name in names.reads
        if name not in namespace
        and not hasattr(builtins, name)
        and not is_shell_name(name)
        and name != "display"
        and not (names.star or name in names.writes)
    )
