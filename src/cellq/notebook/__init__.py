"""cellq in a notebook: what `%load_ext cellq` brings."""

from __future__ import annotations

from typing import Any

from cellq.notebook.magic import CellqMagics
from cellq.notebook.trouble import show_syntax_errors


def load_ipython_extension(shell: Any) -> None:
    """Register the magics."""
    show_syntax_errors(shell)
    shell.register_magics(CellqMagics(shell))


def unload_ipython_extension(shell: Any) -> None:
    """Let go of the shell; jobs that were enqueued go on."""
    magics = shell.magics_manager.registry.get("CellqMagics")
    if magics is not None:
        magics.session.close()
