"""The garbage collector rests while a parcel is packed or opened.

Python's collector looks for garbage each time that so many objects have been made, and now and then through all there
are: a tenth of a second in a notebook that has imported the usual libraries. A parcel is many objects at once, none of
which is garbage.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector from here to the end; a decorator as well."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
