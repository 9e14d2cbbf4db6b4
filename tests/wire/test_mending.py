"""What libraries refuse to pickle, or pickle wrongly, is mended for the names of a cell."""

from __future__ import annotations

import sys
import types
from typing import Any

import pandas
import pytest
import statsmodels.formula.api as smf

from cellq.wire.pickling import dumps, loads

PATSY = """
class Environment:
    def __init__(self, names):
        self.names = names

    def __getstate__(self):
        raise NotImplementedError("pickling not yet supported")

class Error(Exception):
    pass
"""

STATSMODELS = """
class PandasData:
    def __init__(self, spec):
        self.model_spec, self.count = spec, 3

    def __getstate__(self):
        return {"restore": True}

    def __setstate__(self, state):
        raise NameError("made anew out of whatever names are here")
"""


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Modules that behave as patsy and statsmodels do."""
    made = {}
    for name, source in (("patsy.eval", PATSY), ("statsmodels.base.data", STATSMODELS)):
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module: Any = types.ModuleType(".".join(parts[:end]))
            module.__path__ = []
            monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(source, vars(module))
        made[name] = module
    return made


def there(value: Any) -> Any:
    return loads(*dumps(value, anew=True))


def test_what_patsy_makes_of_a_formula_travels(library: dict[str, Any]) -> None:
    environment = library["patsy.eval"].Environment({"x": 1})
    assert there(environment).names == {"x": 1}
    assert isinstance(there(library["patsy.eval"].Error("wrong")), library["patsy.eval"].Error)


def test_the_data_of_a_model_keep_their_formula_and_do_not_make_it_anew(library: dict[str, Any]) -> None:
    def double(v: int) -> int:
        return 2 * v

    environment = library["patsy.eval"].Environment({"double": double})
    data = there(library["statsmodels.base.data"].PandasData(environment))
    assert (data.count, data.model_spec.names["double"](4)) == (3, 8)


def test_models_of_a_formula_with_a_function_of_the_notebook() -> None:
    frame = pandas.DataFrame({"x": [1.0, 2, 3, 4], "y": [2.0, 4, 5, 8]})

    def run(source: str, space: dict[str, Any]) -> dict[str, Any]:
        exec(source, space)
        return space

    space = run(
        "def double(v): return 2 * v\nmodel = smf.ols('y ~ double(x)', data=frame).fit()",
        {"__name__": "__main__", "smf": smf, "frame": frame},
    )
    model = there(space["model"])
    assert model.predict(frame).tolist() == space["model"].predict(frame).tolist()
