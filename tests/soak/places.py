"""Where the store of a soak is, and what happens to it there besides killed clients."""

import os
import signal
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from random import Random

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import NexusControlError
from tests.support.postgres import Cluster, binaries

_RETRY_SECONDS = 0.05
_TRIES = 400
_UPSETS = {"server stopped": 2, "server crashed": 3, "backend ended": 25, "backend killed": 10}
_BACKENDS = (
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


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
        """Opened as soon as the server is there."""
        for _ in range(_TRIES if self.can_be_away else 0):
            with suppress(NexusControlError):
                return NexusControlTools(self.store())
            time.sleep(_RETRY_SECONDS)
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


class PostgresServer(Place):
    """A server of our own, which is stopped and started again, as by a crash too; single backends of it are ended, or
    killed, which makes it end all others.
    """

    name = "postgres"
    can_be_away = True

    def __init__(self, folder: Path) -> None:
        found = binaries()
        if found is None:
            raise RuntimeError("there are no programs of a PostgreSQL server here")
        self.cluster = Cluster(found)
        self.url = self.cluster.url(self.cluster.new_schema())
        self.log = folder / "log"
        self.log.mkdir(mode=0o700)

    def store(self) -> DecisionStore:
        return DecisionStore(self.url, log_folder=self.log)

    def upset(self, chance: Random) -> str | None:
        what = chance.choices(["", *_UPSETS], [60, *_UPSETS.values()])[0]
        match what:
            case "server stopped":
                self.cluster.stop(signal.SIGINT)
                self.cluster.start()
            case "server crashed":
                self.cluster.stop(signal.SIGQUIT)
                self.cluster.start()
            case "backend ended" | "backend killed":
                found = self.cluster.execute(_BACKENDS)
                if not found:
                    return None
                (pid,) = chance.choice(found)
                if what == "backend ended":
                    self.cluster.execute(f"SELECT pg_terminate_backend({pid})")
                else:
                    with suppress(ProcessLookupError):  # it has ended meanwhile
                        os.kill(pid, signal.SIGKILL)
            case _:
                return None
        return what

    def close(self) -> None:
        self.cluster.remove()


PLACES: dict[str, type[Place]] = {"sqlite": SqliteFile, "postgres": PostgresServer}
