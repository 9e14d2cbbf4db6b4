"""Ambient state of libraries that notebooks use: NumPy, pandas, matplotlib, and IPython's own shell."""

from __future__ import annotations

import sys
import warnings
from hashlib import sha512
from importlib import import_module
from typing import Any

from cellq import here
from cellq.cell.provider import GONE, Provider

# ------------------------------------------------------------------------------------------------ NumPy


def _numpy_random() -> object:
    kind, keys, position, has_gauss, cached = sys.modules["numpy.random"].get_state()
    return kind, keys.tobytes(), position, has_gauss, cached


def _apply_numpy_random(state: Any) -> None:
    import numpy as np

    kind, keys, *rest = state
    np.random.set_state((kind, np.frombuffer(keys, np.uint32), *rest))


def _branch_numpy_random(state: Any, number: int) -> object:
    digest = sha512(number.to_bytes(8, "big") + state[1] + repr(state[2:]).encode()).digest()
    words = [int.from_bytes(digest[at : at + 4], "big") for at in range(0, len(digest), 4)]
    kind, keys, *rest = sys.modules["numpy.random"].RandomState(words).get_state()
    return (kind, keys.tobytes(), *rest)


def _numpy_print() -> object:
    return dict(sys.modules["numpy"].get_printoptions())


def _apply_numpy_print(state: Any) -> None:
    import numpy as np

    # `override_repr` is newer than some NumPys, and `GONE` means the library has another idea of its options.
    options = {key: value for key, value in state.items() if value is not GONE and key in np.get_printoptions()}
    np.set_printoptions(**options)


def _numpy_errors() -> object:
    return dict(sys.modules["numpy"].geterr())


def _apply_numpy_errors(state: Any) -> None:
    import numpy as np

    np.seterr(**{key: value for key, value in state.items() if value is not GONE})


# ----------------------------------------------------------------------------------------------- pandas


def _pandas_options() -> dict[str, object]:
    config = import_module("pandas._config.config")
    registered = config._registered_options
    found: dict[str, object] = {}

    def look(tree: dict[str, Any], prefix: str) -> None:
        for key, value in tree.items():
            path = prefix + key
            if isinstance(value, dict):
                look(value, path + ".")
            elif path in registered:
                default = registered[path].defval
                if value is not default and value != default:
                    found[path] = value

    look(config._global_config, "")
    return found


def _apply_pandas_options(state: Any) -> None:
    pd = import_module("pandas")

    for key, value in state.items():
        if value is GONE:
            pd.reset_option(f"^{key}$")
        else:
            pd.set_option(key, value)


def _accessors() -> dict[Any, object]:
    """What the notebook has registered with `pd.api.extensions.register_dataframe_accessor` and its kin."""
    pd = sys.modules["pandas"]
    found: dict[Any, object] = {}
    for owner in (pd.DataFrame, pd.Series, pd.Index):
        for name in owner._accessors:
            kind = getattr(vars(owner).get(name), "_accessor", None)
            if getattr(kind, "__module__", None) == "__main__":
                found[owner.__name__, name] = kind
    return found


def _apply_accessors(state: Any) -> None:
    pd = import_module("pandas")
    make = type(vars(pd.DataFrame)["plot"])  # whatever pandas calls it
    for (owner, name), kind in state.items():
        home = getattr(pd, owner)
        if kind is GONE:
            home._accessors.discard(name)
            delattr(home, name)
        else:
            home._accessors.add(name)
            setattr(home, name, make(name, kind))


# ------------------------------------------------------------------------------------------- matplotlib

# Each side draws with its own backend.
_OWN_PARAMS = frozenset({"backend", "backend_fallback", "interactive", "toolbar", "webagg.port", "timezone"})


def _params() -> dict[str, object]:
    matplotlib = sys.modules["matplotlib"]
    default = matplotlib.rcParamsDefault
    # dict.items: the class's own lookup resolves the backend, which imports pyplot.
    usual = dict(dict.items(default))
    return {
        key: value
        for key, value in dict.items(matplotlib.rcParams)
        if key not in _OWN_PARAMS and (key not in usual or value != usual[key])
    }


def _apply_params(state: Any) -> None:
    import matplotlib as mpl

    for key, value in state.items():
        mpl.rcParams[key] = mpl.rcParamsDefault[key] if value is GONE else value


def _colormaps() -> dict[str, object]:
    """Those that the notebook has registered; for seaborn's the name of the module that registers them."""
    maps = sys.modules["matplotlib"].colormaps
    seaborns = vars(sys.modules[_SEABORN]) if _SEABORN in sys.modules else {}
    return {name: _SEABORN if name in seaborns else maps[name] for name in maps if name not in maps._builtin_cmaps}


_SEABORN = "seaborn.cm"


def _apply_colormaps(state: Any) -> None:
    maps = import_module("matplotlib").colormaps
    for name, colours in state.items():
        if colours is GONE:
            maps.unregister(name)
        elif isinstance(colours, str):
            import_module(colours)
        elif name not in maps or maps[name] != colours:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that there was one of this name
                maps.register(colours, name=name, force=True)


def _interactive() -> object:
    return bool(sys.modules["matplotlib"].is_interactive())


def _apply_interactive(state: object) -> None:
    import_module("matplotlib").interactive(bool(state))  # `plt.ion` and `plt.ioff`


_SETTINGS = (str, bool, set, list, tuple, dict)


def _inline() -> dict[str, object]:
    shell = here.shell()
    backend: Any = getattr(sys.modules.get("matplotlib_inline.config"), "InlineBackend", None)
    if shell is None or backend is None or not backend.initialized():
        # `%config InlineBackend.…` before anything is drawn: it waits here for the backend.
        told = shell.config.get("InlineBackend", {}) if shell is not None else {}
        asked: dict[str, Any] = {key: value for key, value in told.items() if isinstance(value, _SETTINGS)}
        if alone := asked.pop("figure_format", None):
            asked.setdefault("figure_formats", {alone})
        if "figure_formats" in asked:
            asked["figure_formats"] = sorted(asked["figure_formats"])
        return asked
    figures = backend.instance()
    return {
        "figure_formats": sorted(figures.figure_formats),
        "print_figure_kwargs": dict(figures.print_figure_kwargs),
        "close_figures": figures.close_figures,
        "rc": dict(figures.rc),
    }


def _apply_inline(state: Any) -> None:
    from matplotlib_inline.config import InlineBackend

    shell = here.shell()
    if shell is None:
        return
    figures = InlineBackend.instance(parent=shell)
    if figures not in shell.configurables:  # for `%config`
        shell.configurables.append(figures)
    if figures.shell is None:
        figures.shell = shell
    for key, value in state.items():
        if value is not GONE:
            setattr(figures, key, set(value) if key == "figure_formats" else value)


def _inline_backend() -> object:
    name: object = dict.get(sys.modules["matplotlib"].rcParams, "backend")
    if "matplotlib_inline.backend_inline" not in sys.modules:
        return None
    return "inline" if name == "inline" else "by its module"  # after `%matplotlib inline`, or without; ipywidgets asks


def _apply_inline_backend(state: Any) -> None:
    import_module("matplotlib_inline.backend_inline")  # lets figures be shown as values, without one being drawn
    if state == "inline":
        dict.__setitem__(import_module("matplotlib").rcParams, "backend", "inline")


# --------------------------------------------------------------------------------------------- plotly


_PLOTLY_TEMPLATES = frozenset(
    {"ggplot2", "seaborn", "simple_white", "plotly", "plotly_white", "plotly_dark", "presentation", "none"}
    | {"xgridoff", "ygridoff", "gridon"}
)


def _plotly() -> dict[str, object]:
    io: Any = sys.modules["plotly.io"]
    found: dict[str, object] = {"template": io.templates.default, "renderer": io.renderers.default}
    found.update((f"template {name}", io.templates[name]) for name in io.templates if name not in _PLOTLY_TEMPLATES)
    express = sys.modules.get("plotly.express")
    if express is not None:
        found.update((f"default {name}", getattr(express.defaults, name)) for name in express.defaults.__slots__)
    return found


def _apply_plotly(state: Any) -> None:
    io = import_module("plotly.io")
    for key, value in sorted(state.items(), key=lambda item: item[0] == "template"):  # when all of them are there
        what, _, name = key.partition(" ")
        if what == "default":
            setattr(import_module("plotly.express").defaults, name, value)
        elif not name:
            (io.templates if what == "template" else io.renderers).default = value
        elif value is not GONE:
            io.templates[name] = value
        elif name in io.templates:
            del io.templates[name]


# --------------------------------------------------------------------------------------- scikit-learn


def _sklearn() -> object:
    return dict(sys.modules["sklearn"].get_config())


def _apply_sklearn(state: Any) -> None:
    import_module("sklearn").set_config(**{key: value for key, value in state.items() if value is not GONE})


# ---------------------------------------------------------------------------------------------- ipytest


def _ipytest() -> object:
    return dict(sys.modules["ipytest._config"].current_config)


def _apply_ipytest(state: Any) -> None:
    import_module("ipytest").config(**{key: value for key, value in state.items() if value is not GONE})


# ---------------------------------------------------------------------------------------------- IPython


def _shell() -> dict[str, object]:
    shell = here.shell()
    if shell is None:
        return {}
    plain = shell.display_formatter.formatters["text/plain"]
    return {
        "ast_node_interactivity": shell.ast_node_interactivity,
        "autoawait": shell.autoawait,
        "xmode": shell.InteractiveTB.mode,
        "float_precision": plain.float_precision,
        "pprint": plain.pprint,
        "flags": shell.compile.flags,
    }


def _apply_shell(state: Any) -> None:
    shell = here.shell()
    if shell is None:
        return
    plain = shell.display_formatter.formatters["text/plain"]
    for key, value in state.items():
        if key == "xmode":
            shell.InteractiveTB.set_mode(mode=value)
        elif key == "flags":  # `from __future__ import annotations` in an earlier cell counts for later ones
            shell.compile.flags = value
        else:
            setattr(plain if key in ("float_precision", "pprint") else shell, key, value)


PROVIDERS = (
    Provider("numpy.random", _numpy_random, _apply_numpy_random, module="numpy.random", branch=_branch_numpy_random),
    Provider("numpy print options", _numpy_print, _apply_numpy_print, module="numpy"),
    Provider("numpy error handling", _numpy_errors, _apply_numpy_errors, module="numpy"),
    Provider("pandas options", _pandas_options, _apply_pandas_options, module="pandas._config.config"),
    Provider("pandas accessors", _accessors, _apply_accessors, module="pandas.core.base"),
    Provider("rcParams", _params, _apply_params, module="matplotlib"),
    Provider("colormaps", _colormaps, _apply_colormaps, module="matplotlib.cm"),
    Provider("interactive", _interactive, _apply_interactive, module="matplotlib.pyplot"),
    Provider("inline backend", _inline_backend, _apply_inline_backend, module="matplotlib.pyplot"),
    Provider("inline figures", _inline, _apply_inline, module="IPython.core.getipython"),
    Provider("plotly", _plotly, _apply_plotly, module="plotly.io"),
    Provider("scikit-learn", _sklearn, _apply_sklearn, module="sklearn._config"),
    Provider("ipytest", _ipytest, _apply_ipytest, module="ipytest._config"),
    Provider("shell", _shell, _apply_shell, module="IPython.core.getipython"),
)
