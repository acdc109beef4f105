"""A store in one file: how a backup is made, and how it becomes a store again.

A backup is a zip, readable by its owner only:

    manifest.json          {"format": "nexus-control/backup/v1", "made_at": instant, "database": where it lay,
                            "log_size": integer, "log_root": bare hex,
                            "files": [{"name": text, "sha256": bare hex, "bytes": integer}, ...]}
    store.db               the database
    store.db.key           the log's private key, and store.db.key.next while it is replaced; unless left out
    store.db.checkpoint    the last signed checkpoint
    store.db.runs          the router's record of its runs

* The parts fit each other while others write: the checkpoint is read before the database is copied, which therefore
  continues it; the runs are copied after it, so they include every run that the log names; the keys are read before and
  after, until both are the same.
* The head is never part of it. A restored store has a head that says *restored* (`log.head`): it executes and signs
  nothing until its owner accepts that what came after the backup is lost.
* The digests in the manifest find damage. They do not say who made the backup: keep it where others cannot write.
* Reading one trusts nothing in it. Names and kinds of entries are compared with those above, nothing is read beyond the
  size that the manifest gives, and nothing is in place before everything is checked (`log.restorable`).
"""

import hashlib
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Final

from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.integrity import is_bare
from nexus_control.log import checkpoints, head, log_keys
from nexus_control.log.ledger import Ledger
from nexus_control.log.restorable import require_store, spoiled
from nexus_control.storage import files_of
from nexus_control.storage.copying import copy_database
from nexus_control.storage.faults import unavailable
from nexus_control.storage.sidecar import FileSidecar
from nexus_control.values.instants import format_instant, is_instant
from nexus_control.values.records import check, decode, encode

FORMAT: Final = "nexus-control/backup/v1"
_MANIFEST = "manifest.json"
_DATABASE = "store.db"
_KEYS = (log_keys.KEY, log_keys.NEXT_KEY)
_RUNS = "runs"
_NAMES = (_DATABASE, *(f"{_DATABASE}.{name}" for name in (*_KEYS, checkpoints.LAST, _RUNS)))
_MOST_MANIFEST_BYTES = 64 * 1024
_TRIES = 20
_CHUNK = 1024 * 1024
_OWNER_ONLY = 0o600
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""What zipfile and zlib raise for a file whose parts do not fit each other, beside OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a backup."""

    name: str = check(lambda name: name in _NAMES, f"one of {', '.join(_NAMES)}")
    sha256: str = check(is_bare, "64 hex digits")
    bytes: int = check(lambda size: size >= 0, "a size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds."""

    format: str = check(lambda name: name == FORMAT, FORMAT)
    made_at: str = check(is_instant, "an ISO-8601 instant with an offset")
    database: str
    log_size: int
    log_root: str = check(is_bare, "64 hex digits")
    files: tuple[Part, ...]


def back_up(database: Path, file: Path, *, at: datetime, with_keys: bool = True) -> Manifest:
    """Write a backup of the store at `database` into the new file `file`, whole or not at all.

    Raises INVALID_ARGUMENT where a file is there already, or cannot be made; KEY_UNUSABLE for a key that this user may
    not read; STORE_UNAVAILABLE.
    """
    if os.path.lexists(file):
        raise _is_there(file)
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".writing-") as folder:
            parts = _collected(database, Path(folder), with_keys=with_keys)
            with Ledger(parts[0]) as copy, copy.reading() as session:
                known = head.head_of(session)
            manifest = Manifest(
                format=FORMAT,
                made_at=format_instant(at),
                database=str(database),
                log_size=known.size,
                log_root=known.root,
                files=tuple(map(_described, parts)),
            )
            draft = Path(folder, "backup")
            _write(draft, manifest, parts)
            file.hardlink_to(draft)  # fails where another backup has made a file meanwhile
            _flush(file.parent)
    except FileExistsError:
        raise _is_there(file) from None
    except OSError as error:
        raise invalid_argument("FILE", f"names {file}, which cannot be written: {error.strerror}") from error
    return manifest


def restore(file: Path, database: Path) -> Manifest:
    """Lay a backup out as the store at `database`, where nothing may be, and mark it as restored. Its folder is made if
    only that is missing.

    Raises INVALID_ARGUMENT for any other file than a backup, or a place that is not empty; INTEGRITY_MISMATCH for a
    backup that was damaged.
    """
    for each in files_of(str(database)):
        if os.path.lexists(each):
            raise invalid_argument("--db", f"names {database}, and {each} is there already: name a new place")
    try:
        database.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=database.parent, prefix=".writing-") as folder:
            copy = Path(folder, _DATABASE)
            manifest = _laid_out(file, copy)
            require_store(copy, manifest.log_size, manifest.log_root)
            restored = Path(folder, f"{_DATABASE}.head")
            restored.write_bytes(head.restored(manifest.log_root).to_bytes())
            names = [
                restored.name,
                *(part.name for part in manifest.files if part.name != _DATABASE),
                _DATABASE,
            ]
            _put_in_place([(Path(folder, name), _place_of(database, name)) for name in names])
            _flush(database.parent)
    except OSError as error:
        raise invalid_argument(
            "FILE", f"names {file}, which cannot be restored: {error.strerror or error}"
        ) from error
    return manifest


def _laid_out(file: Path, database: Path) -> Manifest:
    """Extract the parts beside each other. Raises INVALID_ARGUMENT for any other file than a backup, INTEGRITY_MISMATCH
    for a part that is damaged.
    """
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
            manifest = _manifest_in(archive)
        except NexusControlError:
            raise
        except _DAMAGE as error:
            raise _no_backup(str(error) or type(error).__name__) from error
        for part in manifest.files:
            try:
                _extract(archive, part, database.with_name(part.name))
            except NexusControlError:  # a ValueError, too
                raise
            except _DAMAGE as error:
                raise spoiled(part.name, f"cannot be unpacked: {error}") from error
    return manifest


def _is_there(file: Path) -> NexusControlError:
    return invalid_argument("FILE", f"names {file}, which is there already: name a new file")


def _collected(database: Path, folder: Path, *, with_keys: bool) -> list[Path]:
    """The parts, copied into `folder`; the database is the first."""
    sidecar = FileSidecar(database)
    copy = folder / _DATABASE
    for _ in range(_TRIES):
        keys = _keys(sidecar) if with_keys else {}
        checkpoint = sidecar.read(checkpoints.LAST)
        copy_database(database, copy)
        if not with_keys or keys == _keys(sidecar):
            break
        copy.unlink()
    else:
        raise unavailable("the log's key is replaced all the time: try again", path=str(database))
    beside = keys if checkpoint is None else {**keys, checkpoints.LAST: checkpoint}
    parts = [copy]
    for name, content in beside.items():
        parts.append(_place_of(copy, f"{_DATABASE}.{name}"))
        parts[-1].write_bytes(content)
    runs = Path(f"{database}.{_RUNS}")
    if runs.exists():
        parts.append(_place_of(copy, f"{_DATABASE}.{_RUNS}"))
        copy_database(runs, parts[-1])
    return parts


def _keys(sidecar: FileSidecar) -> dict[str, bytes]:
    found = dict[str, bytes]()
    for name in _KEYS:
        try:
            content = sidecar.read_secret(name)
        except NexusControlError as fault:
            raise NexusControlError(
                ErrorCode.KEY_UNUSABLE,
                fault.message,
                fault.details,
                "Let the key's owner make the backup, or leave the keys out: --without-keys.",
            ) from fault
        if content:
            found[name] = content
    return found


def _described(part: Path) -> Part:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Part(name=part.name, sha256=digest, bytes=part.stat().st_size)


def _write(draft: Path, manifest: Manifest, parts: list[Path]) -> None:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_MANIFEST, canonical_json(encode(manifest)))
            for part in parts:
                archive.write(part, part.name)
        file.flush()
        os.fsync(descriptor)


def _manifest_in(archive: zipfile.ZipFile) -> Manifest:
    """The manifest, after its entries were compared with it. Raises INVALID_ARGUMENT."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if entry.filename not in (_MANIFEST, *_NAMES) or names.count(entry.filename) > 1:
            raise _no_backup(f"it holds {entry.filename!r:.80}")
        if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:
            raise _no_backup(f"{entry.filename} is a link, encrypted, or no file")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _no_backup(f"{entry.filename} is compressed in another way than `backup` does")
    sizes = {entry.filename: entry.file_size for entry in entries}
    if sizes.pop(_MANIFEST, _MOST_MANIFEST_BYTES + 1) > _MOST_MANIFEST_BYTES:
        raise _no_backup(f"it has no {_MANIFEST}, or a very long one")
    with archive.open(_MANIFEST) as file:
        text = file.read(_MOST_MANIFEST_BYTES + 1)
    try:
        content = parse_json_object(text.decode())
        manifest = decode(Manifest, content, where=_MANIFEST, code=ErrorCode.INVALID_ARGUMENT)
    except (NexusControlError, UnicodeDecodeError) as error:
        raise _no_backup(str(error)) from None
    if {part.name: part.bytes for part in manifest.files} != sizes or _DATABASE not in sizes:
        raise _no_backup("its files are not those that its manifest names")
    return manifest


def _extract(archive: zipfile.ZipFile, part: Part, target: Path) -> None:
    """Write a part of at most its size. A key is readable by its owner only. Raises INTEGRITY_MISMATCH."""
    if part.bytes > shutil.disk_usage(target.parent).free:
        raise invalid_argument("--db", f"has no room for {part.name}, which takes {part.bytes} bytes")
    mode = _OWNER_ONLY if part.name.removeprefix(f"{_DATABASE}.") in _KEYS else 0o666
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file, archive.open(part.name) as source:
        for chunk in _chunks(source, part.bytes):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(descriptor)
    if digest.hexdigest() != part.sha256:
        raise spoiled(part.name, "is not what was backed up: its digest is another")


def _chunks(source: IO[bytes], most: int) -> Iterator[bytes]:
    while most > 0 and (chunk := source.read(min(_CHUNK, most))):
        yield chunk
        most -= len(chunk)


def _place_of(database: Path, name: str) -> Path:
    return database.with_name(database.name + name.removeprefix(_DATABASE))


def _put_in_place(moves: list[tuple[Path, Path]]) -> None:
    """Move each draft to its place, where nothing is; after a failure nothing is there."""
    with ExitStack() as undo:
        for draft, place in moves:
            place.hardlink_to(draft)
            undo.callback(_remove, place)
            draft.unlink()
        undo.pop_all()


def _remove(place: Path) -> None:
    with suppress(OSError):
        place.unlink()


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _no_backup(why: str) -> NexusControlError:
    return invalid_argument("FILE", f"is not a backup of nexus-control: {why}")
