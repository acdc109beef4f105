"""A storage that tells a test what is about to be written, so that the test can fail or kill there."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, TypeAlias, cast

from nexus_control.storage.contract import Entry, Reader, ResultT, Storage, Writer

Moment: TypeAlias = Literal["append", "commit", "committed"]
"""Before an append; at the end of a transaction that appended, before its commit; after its commit."""

Watcher: TypeAlias = Callable[[Moment, frozenset[str]], None]
"""Is told the moment and the types of the events; what it raises is the storage's fault."""


class WatchedStorage:
    """Any storage, watched."""

    def __init__(self, inner: Storage, watch: Watcher) -> None:
        self.inner = inner
        self.watch = watch
        self.name = inner.name
        self.sidecar = inner.sidecar

    def reading(self) -> AbstractContextManager[Reader]:
        return self.inner.reading()

    @contextmanager
    def writing(self) -> Generator[Writer]:
        types: set[str] = set()
        with self.inner.writing() as writer:
            yield cast("Writer", _WatchedWriter(writer, types, self))
            if types:
                self.watch("commit", frozenset(types))
        if types:
            self.watch("committed", frozenset(types))

    def write(self, work: Callable[[Writer], ResultT]) -> ResultT:
        with self.writing() as rows:
            return work(rows)

    def form_differences(self) -> list[str]:
        return self.inner.form_differences()

    def mend_form(self) -> None:
        self.inner.mend_form()

    def held(self) -> AbstractContextManager[None]:
        return self.inner.held()

    def close(self) -> None:
        self.inner.close()


class _WatchedWriter:
    def __init__(self, writer: Writer, types: set[str], storage: WatchedStorage) -> None:
        self._writer = writer
        self._types = types
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def append(self, entries: Sequence[Entry]) -> None:
        self._types.update(entry.event_type for entry in entries)
        self._storage.watch("append", frozenset(entry.event_type for entry in entries))
        self._writer.append(entries)
