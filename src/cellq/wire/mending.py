"""What the pickles of libraries would change or cannot do, done right for the names of a cell (see `standins`).

scikit-learn's Bunch drops attributes, NumPy those of derived arrays, argparse takes two equal texts for different ones;
a widget belongs to one front end, a drawing board of Pillow is only a handle on its image. patsy refuses to pickle what
it makes of a formula, so statsmodels makes it anew, out of whatever names the unpickling code has.
"""

from __future__ import annotations

import copyreg
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FunctionType, MappingProxyType, MethodType
from typing import Any

from cellq import here
from cellq.wire.rebuilding import afterwards

Reduction = Any  # what __reduce_ex__ returns, or NotImplemented

_SMALL_ARRAY = 64 << 10
"""Bytes of an array up to which it is copied on arrival, so that it owns its memory."""


def _of_attributes(thing: Any, items: Iterator[tuple[Any, Any]] | None = None) -> Reduction:
    return copyreg.__newobj__, (type(thing),), vars(thing), None, items, set_attributes  # type: ignore[attr-defined]


def set_attributes(thing: Any, attributes: dict[str, Any]) -> None:
    """Give a thing its attributes past its own `__setstate__`: scikit-learn's Bunch has one that drops them."""
    vars(thing).update(attributes)


def _bunch(bunch: Any) -> Reduction:
    return _of_attributes(bunch, iter(bunch.items()))


def widget(widget: Any) -> Reduction:
    """How to make a widget anew."""
    if not hasattr(widget, "get_view_spec"):
        return NotImplemented
    make, args, state = widget.__reduce_ex__(5)[:3]
    values = {name: value for name, value in state["_trait_values"].items() if name != "comm"}
    watched = {
        (name, event): handlers
        for name, by_event in widget._trait_notifiers.items()
        for event, found in by_event.items()
        if (handlers := [each for each in found if isinstance(each, FunctionType | MethodType)])  # not its class's
    }
    return make, args, ({**state, "_trait_values": values}, watched, widget.model_id), None, None, set_widget


def set_widget(widget: Any, state: Any) -> None:
    """Fill a widget, with what `observe` has added to it; traitlets drops that. And connect it with the front end of
    this side: a connection belongs to one process.
    """
    widget.__setstate__(state[0])
    for (name, event), handlers in state[1].items():
        for handler in handlers:
            widget._add_notifiers(handler, name, event)
    widget._model_id = None if here.widget(state[2]) is not None else state[2]  # then it is another widget's here
    afterwards(partial(_open, widget))


def _open(widget: Any, opening: tuple[Any, ...] = ()) -> None:
    """Connect a widget with the front end; those that are in it first, for the front end looks them up."""
    kind: Any = sys.modules["ipywidgets"].Widget
    if widget.comm is not None or widget in opening:
        return
    for value in list(widget._trait_values.values()):
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
        for part in parts:
            if isinstance(part, kind):
                _open(part, (*opening, widget))
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


def owner(array: Any) -> Reduction:
    """How to make a small array anew that owns its memory: out of NumPy's own pickle it would be a view of a buffer,
    which cannot be resized and has a `base`.
    """
    flags = array.flags
    if not flags.owndata or array.dtype.hasobject or array.nbytes > _SMALL_ARRAY:
        return NotImplemented
    order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
    return owning, (array.dtype, array.shape, order, array.tobytes(order), flags.writeable)


def owning(dtype: Any, shape: tuple[int, ...], order: str, content: bytes, writeable: bool) -> Any:
    """An array with memory of its own."""
    numpy = sys.modules["numpy"]
    new = numpy.empty(shape, dtype, order)
    if content:
        new[...] = numpy.ndarray(shape, dtype, content, order=order)
    new.flags.writeable = writeable
    return new


def _memmap(array: Any) -> Reduction:
    if array.base is not array._mmap or array.filename is None or array.mode == "c":
        return NotImplemented  # a part of one, or what no file has
    array.flush()
    order = "C" if array.flags.c_contiguous else "F"
    return memmap_of, (array.filename, array.dtype, array.mode, array.offset, array.shape, order)


def memmap_of(file: Any, dtype: Any, mode: str, offset: int, shape: tuple[int, ...], order: Any) -> Any:
    """An array in a file that is there."""
    new = sys.modules["numpy"].memmap(file, dtype, "r" if mode == "r" else "r+", offset, shape, order)
    new.mode = mode
    return new


def _directory_entry(entry: Any) -> Reduction:
    return entry_of, (str(Path(entry.path).parent), entry.name)


def entry_of(folder: Any, name: Any) -> Any:
    """What `os.scandir` gives for a file; None when that is gone."""
    try:
        with os.scandir(folder) as entries:
            return next((entry for entry in entries if entry.name == name), None)
    except OSError:
        return None


def formatter(formatter: Any) -> Reduction:
    """How to find the shell's own formatter on the other side."""
    owner = getattr(here.shell(), "display_formatter", None)
    mime = getattr(formatter, "format_type", None)
    if owner is None or (formatter is not owner and owner.formatters.get(mime) is not formatter):
        return NotImplemented
    return this_formatter, (mime if formatter is not owner else None,)


def this_formatter(mime: str | None) -> Any:
    """The formatter of this side's shell for such content; without a type, what holds them all."""
    owner = here.shell().display_formatter
    return owner if mime is None else owner.formatters[mime]


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


def _polynomial(polynomial: Any) -> Reduction:
    return _of_attributes(polynomial)  # NumPy's own pickle copies what belongs to the class


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


def patsy(part: Any) -> Reduction:
    """How to make a part of a formula anew: of its attributes, which is all it is."""
    refuses = "__getstate__" in vars(type(part))
    return _of_attributes(part) if refuses else NotImplemented


def _model_data(data: Any) -> Reduction:
    of_formula = type(getattr(data, "model_spec", None)).__module__.startswith("patsy.")
    return _of_attributes(data) if of_formula else NotImplemented


def plotly(thing: Any) -> Reduction:
    """How to make a figure of plotly anew, or a trace together with its figure.

    Its own pickle turns arrays into base64, as for a page, and a trace into one that belongs to no figure.
    """
    base = sys.modules.get("plotly.basedatatypes")
    if base is None:
        return NotImplemented
    if isinstance(thing, base.BaseFigure):
        frames = [frame._props for frame in thing._frame_objs]
        return figure_of, (type(thing), thing._data, thing._layout, frames, thing._grid_str, thing._grid_ref)
    if isinstance(thing, base.BaseTraceType) and isinstance(thing._parent, base.BaseFigure):
        return trace_of, (thing._parent, thing._trace_ind)
    return NotImplemented


def figure_of(kind: Any, data: list[Any], layout: dict[str, Any], frames: list[Any], grid: Any, places: Any) -> Any:
    """A figure of plotly; what it holds is in the order in which it was told."""
    parts = {"data": [dict(each) for each in data], "layout": dict(layout), "frames": frames}
    new = kind({**parts, "_grid_str": grid, "_grid_ref": places})
    for own, told in ((new._layout, layout), *zip(new._data, data, strict=True)):
        own.clear()
        own.update(told)
    return new


def trace_of(figure: Any, number: int) -> Any:
    """One of a figure's traces."""
    return figure.data[number]


BY_NAME: Mapping[str, Callable[[Any], Reduction]] = MappingProxyType(
    {
        "PIL.ImageDraw.ImageDraw": _pencil,
        "argparse.ArgumentParser": _parser,
        "nt.DirEntry": _directory_entry,
        "numpy.ma.MaskedArray": _masked,
        "numpy.ma.core.MaskedArray": _masked,
        "numpy.memmap": _memmap,
        "numpy.ndarray": owner,
        "numpy.polynomial.chebyshev.Chebyshev": _polynomial,
        "numpy.polynomial.hermite.Hermite": _polynomial,
        "numpy.polynomial.hermite_e.HermiteE": _polynomial,
        "numpy.polynomial.laguerre.Laguerre": _polynomial,
        "numpy.polynomial.legendre.Legendre": _polynomial,
        "numpy.polynomial.polynomial.Polynomial": _polynomial,
        "posix.DirEntry": _directory_entry,
        "sklearn.utils._bunch.Bunch": _bunch,
        "statsmodels.base.data.ModelData": _model_data,
        "statsmodels.base.data.PandasData": _model_data,
        "statsmodels.base.data.PatsyData": _model_data,
    }
)
"""How to make a thing anew, by the name of its type."""
