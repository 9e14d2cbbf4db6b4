"""What live tables have in common: they are fed while somebody looks, and do what is asked for in the page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from cellq.client.connection import Connection
from cellq.client.portal import portal
from cellq.notebook.boards.board import Board
from cellq.notebook.boards.pump import Pump
from cellq.notebook.boards.screens import LiveScreen


class LiveTable(ABC):
    """A table of a store, kept up to date: a feed of the store's pump.

    Args:
        connection: to the store.
        pump: of that store.
    """

    tick: float
    screen: LiveScreen

    def __init__(self, connection: Connection, pump: Pump) -> None:
        self._connection = connection
        self._pump = pump
        self._notes: list[str] = []

    @abstractmethod
    async def board(self) -> Board:
        """The table as it stands now.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """

    @abstractmethod
    async def _obey(self, command: str, key: str, message: Mapping[str, Any]) -> None:
        """Do what a button asks for; what it raises is told above the table.

        Args:
            key: of the line, "" for the head.
            message: all that the page has sent.
        """

    async def look(self) -> bool:
        self.screen.draw(await self.board())
        return self.screen.watched

    def lose(self, error: Exception) -> None:
        self.screen.tell(lost(error))

    def watch(self, watched: bool) -> None:
        """Somebody begins to look, or nobody does any more."""
        if watched:
            self._pump.add(self)
        else:
            self._pump.remove(self)

    def press(self, message: Mapping[str, Any]) -> None:
        """Do what was asked for in the page; from any thread, returns at once."""
        portal().start(self._answer(message))

    async def _answer(self, message: Mapping[str, Any]) -> None:
        self._notes = []
        try:
            await self._obey(str(message.get("cmd")), str(message.get("key", "")), message)
        except Exception as error:
            self._notes = str(error).splitlines()
        self._pump.add(self)


def lost(error: Exception) -> list[str]:
    """Why a table stands still, as its notes."""
    return [f"this table can no longer be kept up to date ({error})"]
