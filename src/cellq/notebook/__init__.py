"""cellq in a notebook: what `%load_ext cellq` brings."""

from __future__ import annotations

from typing import Any

from cellq.notebook.magic import CellqMagics
from cellq.notebook.output.trouble import show_syntax_errors
from cellq.notebook.overview import OverviewMagics
from cellq.notebook.schedules import ScheduleMagics
from cellq.notebook.session import Session


def load_ipython_extension(shell: Any) -> None:
    """Register the magics and how jobs are shown, and come back to what kernels before this one have left."""
    show_syntax_errors(shell)
    magics = CellqMagics(shell)
    overview = OverviewMagics(shell, magics.session)
    shell.register_magics(magics, overview, ScheduleMagics(shell, magics.session))
    overview.showing.register()
    overview.showing.come_back()
    told = magics.session.come_back()
    if told:
        print(told)


def session_of(shell: Any) -> Session:
    """The notebook's session; the extension is loaded if need be."""
    shell.extension_manager.load_extension("cellq")
    session: Session = shell.magics_manager.registry["CellqMagics"].session
    return session


def unload_ipython_extension(shell: Any) -> None:
    """Let go of the shell; jobs that were enqueued go on."""
    magics = shell.magics_manager.registry.get("CellqMagics")
    if magics is not None:
        magics.session.close()
    overview = shell.magics_manager.registry.get("OverviewMagics")
    if overview is not None:
        overview.showing.unregister()
