"""What the pickles of libraries would change or cannot do, done right for the names of a cell (see `standins`).

scikit-learn's Bunch drops attributes, NumPy those of derived arrays, argparse takes two equal texts for different ones;
a widget belongs to one front end, a drawing board of Pillow is only a handle on its image.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Reduction = Any  # what __reduce_ex__ returns, or NotImplemented


def _bunch(bunch: Any) -> Reduction:
    return copyreg.__newobj__, (type(bunch),), vars(bunch), None, iter(bunch.items()), set_attributes  # type: ignore[attr-defined]


def set_attributes(thing: Any, attributes: dict[str, Any]) -> None:
    """Give a thing its attributes past its own `__setstate__`: scikit-learn's Bunch has one that drops them."""
    vars(thing).update(attributes)


def widget(widget: Any) -> Reduction:
    """How to make a widget anew."""
    make, args, state = widget.__reduce_ex__(5)[:3]
    values = {name: value for name, value in state["_trait_values"].items() if name != "comm"}
    return make, args, {**state, "_trait_values": values}, None, None, set_widget


def set_widget(widget: Any, state: Any) -> None:
    """Fill a widget and connect it with the front end of this side: a connection belongs to one process."""
    widget.__setstate__(state)
    widget._model_id = None  # the front end may know that model already, as another widget's
    widget.open()


def subarray(array: Any) -> Reduction:
    """How to make an array of a derived class anew."""
    if type(array).__reduce__ is not sys.modules["numpy"].ndarray.__reduce__:
        return NotImplemented  # it sees to that itself
    make, args, state = array.__reduce__()
    return make, args, (state, vars(array)), None, None, set_subarray


def set_subarray(array: Any, state: Any) -> None:
    """Fill an array of a derived class, with the attributes that NumPy's own pickle drops."""
    array.__setstate__(state[0])
    vars(array).update(state[1])


def _parser(parser: Any) -> Reduction:
    return copyreg.__newobj__, (type(parser),), vars(parser), None, None, set_parser  # type: ignore[attr-defined]


def set_parser(parser: Any, attributes: dict[str, Any]) -> None:
    """Fill an argparse parser, which knows the text "==SUPPRESS==" by its identity."""
    import argparse

    vars(parser).update(attributes)
    for thing in (parser, *parser._actions):
        for name, value in vars(thing).items():
            if type(value) is str and value == argparse.SUPPRESS:
                vars(thing)[name] = argparse.SUPPRESS


def _masked(array: Any) -> Reduction:
    return NotImplemented if array._fill_value is not None else (*array.__reduce__(), None, None, set_masked)


def set_masked(array: Any, state: Any) -> None:
    """Fill a masked array that has no fill value of its own; NumPy would give it one."""
    array.__setstate__(state)
    array._fill_value = None


def _pencil(draw: Any) -> Reduction:
    settings = {name: value for name, value in vars(draw).items() if name in ("ink", "fill", "fontmode", "font")}
    return pencil_on, (type(draw), draw._image, draw.mode, settings)


def pencil_on(kind: Any, image: Any, mode: str, settings: dict[str, Any]) -> Any:
    """A drawing board of Pillow on this image, of which it is only a handle."""
    new = kind(image, mode)
    vars(new).update(settings)
    return new


BY_NAME: Mapping[str, Callable[[Any], Reduction]] = MappingProxyType(
    {
        "PIL.ImageDraw.ImageDraw": _pencil,
        "argparse.ArgumentParser": _parser,
        "numpy.ma.MaskedArray": _masked,
        "numpy.ma.core.MaskedArray": _masked,
        "sklearn.utils._bunch.Bunch": _bunch,
    }
)
"""How to make a thing anew, by the name of its type."""
