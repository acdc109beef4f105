"""Couriers that tests give to fresh processes."""

import os
import signal
from datetime import datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

from nexus_control.notify.delivering import Courier
from nexus_control.notify.sinks import EVERYTHING, Message, Reply, Sink
from nexus_control.store import DecisionStore


class Tally:
    """Writes the id of each message to a file, in one write; then it is killed, if it is to be."""

    kind, where = "tally", "a file"

    def __init__(self, file: Path, *, dies: bool = False) -> None:
        self._file, self._dies = file, dies

    def send(self, message: Message, now: datetime) -> Reply:
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{message.message_id}\n".encode())
        os.close(descriptor)
        if self._dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return Reply(outcome="delivered", why="it is written")


def courier(store: DecisionStore, file: Path, *, dies: bool = False) -> Courier:
    target = Tally(file, dies=dies)
    return Courier(store, Sink(name="tally", events=EVERYTHING, labels=(), goal=False, target=target), None)


def tell_until_all_are_told(place: str, file: Path, ready: Barrier, count: int) -> None:
    """Several of these race for one sink, until the file has as many lines as there are events."""
    with DecisionStore(place) as store:
        mine = courier(store, file)
        ready.wait()
        while not file.exists() or len(file.read_text().splitlines()) < count:
            if mine.step() != "idle":
                mine.release()


def tell_and_die(place: str, file: Path) -> None:
    with DecisionStore(place) as store:
        courier(store, file, dies=True).step()
