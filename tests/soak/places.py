"""Where the store of a soak is, and what happens to it there besides killed clients."""

from abc import ABC, abstractmethod
from pathlib import Path
from random import Random

from nexus_control import DecisionStore, NexusControlTools


class Place(ABC):
    """One store. It is opened only in processes that the soak forked."""

    name: str
    can_be_away: bool
    """Whether a call may find no server: then its outcome is unknown to its caller."""

    @abstractmethod
    def __init__(self, folder: Path) -> None:
        """Make the place ready in this folder, which is empty."""

    @abstractmethod
    def store(self) -> DecisionStore: ...

    @abstractmethod
    def upset(self, chance: Random) -> str | None:
        """Called about once a second: something may happen to the place, which this names."""

    @abstractmethod
    def close(self) -> None: ...

    def tools(self) -> NexusControlTools:
        return NexusControlTools(self.store())


class SqliteFile(Place):
    name = "sqlite"
    can_be_away = False

    def __init__(self, folder: Path) -> None:
        self.path = folder / "decisions.db"

    def store(self) -> DecisionStore:
        return DecisionStore(self.path)

    def upset(self, chance: Random) -> str | None:
        return None

    def close(self) -> None:
        pass


PLACES: dict[str, type[Place]] = {"sqlite": SqliteFile}
