import contextlib
import errno
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.chain import leaf_hash
from nexus_control.evidence.formats import keys
from nexus_control.evidence.formats.merkle import reader, require_consistent, tree_root, whole_tree
from nexus_control.evidence.formats.note import Verifier, open_note, parse_checkpoint, sign_note
from nexus_control.evidence.formats.tlog_proof import parse_log_proof
from nexus_control.log.checkpoints import last_published, leaf_lines, publish, require_continued
from nexus_control.log.log_keys import give_key, keys_of, rotate
from nexus_control.log.proving import prove
from nexus_control.log.upkeep import find_faults
from nexus_control.storage.sidecar import FileSidecar
from nexus_control.storage.sqlite import SqliteStorage
from tests.support.governed import ALICE, BOB, approved
from tests.support.places import REPOSITORY


@pytest.fixture(params=[":memory:", "file"])
def tools(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NexusControlTools]:
    place = tmp_path / "store.db" if request.param == "file" else request.param
    made = NexusControlTools(db_path=place)
    yield made
    made.store.close()


@pytest.fixture
def on_file(tmp_path: Path) -> Iterator[NexusControlTools]:
    made = NexusControlTools(db_path=tmp_path / "store.db")
    yield made
    made.store.close()


def leaf_of_last(store: DecisionStore, decision_id: str) -> bytes:
    return bytes.fromhex(store.load(decision_id).head)


def refused(code: ErrorCode) -> pytest.RaisesExc[NexusControlError]:
    return pytest.RaisesExc(NexusControlError, check=lambda error: error.code == code)


def test_the_first_use_makes_a_key_names_the_log_and_records_both(tools: NexusControlTools) -> None:
    assert keys_of(tools.store) == []
    origin = publish(tools.store).checkpoint.origin
    assert origin.startswith("nexus-control.local/")
    assert publish(tools.store).checkpoint.origin == origin
    (record,) = keys_of(tools.store)
    assert record.verifier.name == origin
    assert find_faults(tools.store) == []


def test_two_stores_have_different_names_and_keys() -> None:
    first, second = publish(DecisionStore()), publish(DecisionStore())
    assert first.checkpoint.origin != second.checkpoint.origin
    assert first.verifier.key != second.verifier.key


def test_a_checkpoint_is_signed_and_states_the_root_of_all_leaves(tools: NexusControlTools) -> None:
    for _ in range(5):
        approved(tools)
    published = publish(tools.store)
    note = open_note(published.note, [published.verifier])
    assert parse_checkpoint(note.text) == published.checkpoint
    lines = leaf_lines(tools.store).splitlines()
    assert len(lines) == published.checkpoint.size == 5 * 3 + 1
    leaves = [bytes.fromhex(leaf_hash(line)) for line in lines]
    assert tree_root(len(leaves), reader(whole_tree(leaves))) == published.checkpoint.root


def test_the_last_event_of_every_decision_is_proved_whatever_comes_after_it(tools: NexusControlTools) -> None:
    decisions: list[str] = []
    for _ in range(7):
        decisions.append(approved(tools))
        for decision_id in decisions:
            proof = parse_log_proof(prove(tools.store, decision_id, 0, 2).to_text())
            proof.require_leaf(leaf_of_last(tools.store, decision_id))
            assert proof.signed_by([keys_of(tools.store)[0].verifier]).signatures


def test_what_is_not_in_the_log_is_not_proved(tools: NexusControlTools) -> None:
    decision_id = approved(tools)
    for name, seq in (("nobody", 0), (decision_id, 3)):
        with refused(ErrorCode.DECISION_NOT_FOUND):
            prove(tools.store, name, 0, seq)


def test_asking_for_the_proof_of_nothing_makes_no_key(tools: NexusControlTools) -> None:
    with refused(ErrorCode.DECISION_NOT_FOUND):
        prove(tools.store, "nowhere", 0, 0)
    assert keys_of(tools.store) == []


def test_a_log_that_grew_continues_every_checkpoint_it_signed(tools: NexusControlTools) -> None:
    saved = [publish(tools.store)]
    for _ in range(6):
        approved(tools)
        saved.append(publish(tools.store))
    for earlier in saved:
        found = require_continued(tools.store, earlier.note)
        assert found.earlier == earlier.checkpoint
        require_consistent(found.earlier.size, found.size, found.earlier.root, found.root, found.path)


def test_the_checkpoint_of_another_log_and_an_unsigned_one_are_refused(tools: NexusControlTools) -> None:
    approved(tools)
    own = publish(tools.store)
    with refused(ErrorCode.SIGNATURE_INVALID):
        require_continued(tools.store, publish(DecisionStore()).note)
    forged = sign_note(own.checkpoint.to_text(), own.checkpoint.origin, keys.generate())
    with refused(ErrorCode.SIGNATURE_INVALID):
        require_continued(tools.store, forged)
    borrowed = sign_note(own.checkpoint.to_text(), "somebody", keys.private_from_seed(bytes(32)))
    somebody = Verifier(name="somebody", key=keys.private_from_seed(bytes(32)).public)
    with refused(ErrorCode.SIGNATURE_INVALID):
        require_continued(tools.store, borrowed, trusted=somebody)
    with refused(ErrorCode.INTEGRITY_MISMATCH):
        require_continued(tools.store, "nonsense")
    assert require_continued(tools.store, own.note, trusted=own.verifier).size == own.checkpoint.size


def test_a_rotated_key_is_vouched_for_by_the_one_before_it(tools: NexusControlTools) -> None:
    before = publish(tools.store)
    approved(tools)
    record = rotate(tools.store)
    after = publish(tools.store)
    assert after.verifier == record.verifier != before.verifier
    assert after.checkpoint.origin == before.checkpoint.origin
    assert require_continued(tools.store, before.note).earlier == before.checkpoint
    note = open_note(record.note, [before.verifier])
    assert note.text.splitlines() == ["nexus-control/key/v1", record.verifier.name, str(record.verifier)]
    assert note.signatures
    assert find_faults(tools.store) == []


def test_a_rotation_that_was_interrupted_after_the_log_named_the_new_key_is_finished(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    old = publish(on_file.store)
    kept = (tmp_path / "store.db.key").read_bytes()
    record = rotate(on_file.store)
    (tmp_path / "store.db.key").rename(tmp_path / "store.db.key.next")
    (tmp_path / "store.db.key").write_bytes(kept)
    (tmp_path / "store.db.key").chmod(0o600)
    assert publish(on_file.store).verifier == record.verifier != old.verifier
    assert not (tmp_path / "store.db.key.next").exists()


def test_a_rotation_that_was_interrupted_before_it_was_recorded_goes_on_with_its_key(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    publish(on_file.store)
    left = keys.generate()
    (tmp_path / "store.db.key.next").write_bytes(left.to_pem())
    (tmp_path / "store.db.key.next").chmod(0o600)
    assert rotate(on_file.store).verifier.key == left.public
    assert publish(on_file.store).verifier.key == left.public


def test_the_key_is_for_its_owner_alone_and_is_not_used_once_others_may_read_it(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    publish(on_file.store)
    key = tmp_path / "store.db.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o640)
    with refused(ErrorCode.KEY_UNUSABLE):
        publish(on_file.store)
    key.chmod(0o600)
    publish(on_file.store)


def test_a_lost_or_foreign_key_signs_nothing_until_the_log_has_a_new_one(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    before = publish(on_file.store)
    with refused(ErrorCode.KEY_UNUSABLE):
        give_key(on_file.store)
    key = tmp_path / "store.db.key"
    key.unlink()
    with refused(ErrorCode.KEY_UNUSABLE):
        publish(on_file.store)
    key.write_bytes(keys.generate().to_pem())
    key.chmod(0o600)
    with refused(ErrorCode.KEY_UNUSABLE):
        publish(on_file.store)
    key.unlink()
    record = give_key(on_file.store)
    after = publish(on_file.store)
    assert after.verifier == record.verifier
    assert after.checkpoint.origin == before.checkpoint.origin
    assert [each.verifier for each in keys_of(on_file.store)] == [before.verifier, after.verifier]


def test_an_older_copy_of_the_database_is_noticed_by_the_checkpoint_beside_it(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    publish(on_file.store)
    copy = tmp_path / "copy.db"
    with sqlite3.connect(tmp_path / "store.db") as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    approved(on_file)
    publish(on_file.store)
    on_file.store.close()
    for leftover in tmp_path.glob("store.db-*"):
        leftover.unlink()
    shutil.copy(copy, tmp_path / "store.db")
    with DecisionStore(tmp_path / "store.db") as restored:
        for look in (publish, last_published):
            with refused(ErrorCode.LOG_INCONSISTENT):
                look(restored)
        assert [fault.code for fault in find_faults(restored)] == ["CHECKPOINT_DIFFERS"]


def test_a_spoiled_checkpoint_beside_the_store_stops_signing(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    publish(on_file.store)
    beside = tmp_path / "store.db.checkpoint"
    content = beside.read_bytes()
    for spoiled in (content[:-2], content.replace(b"\n1\n", b"\n2\n"), b"\xff", b""):
        beside.write_bytes(spoiled)
        with refused(ErrorCode.LOG_INCONSISTENT):
            publish(on_file.store)
    beside.write_bytes(content)
    publish(on_file.store)


def test_an_import_and_a_template_are_leaves_too(tools: NexusControlTools) -> None:
    request_id = tools.request(goal="rotate", actor=ALICE).data["request_id"]
    tools.template_create(name="rotation", actor=ALICE)
    bundle = tools.export_bundle(request_id).data["bundle"]
    assert tools.import_bundle(bundle, conflict_mode="new_decision_id").success
    tools.approve(request_id, actor=BOB)
    kinds = [line.split(b'"_type":"')[1].split(b'"')[0] for line in leaf_lines(tools.store).splitlines()]
    assert kinds.count(b"nexus-control/import/v1") == 1
    assert publish(tools.store).checkpoint.size == len(kinds) + 1


class Interrupted(BaseException):
    """The process ends here, as far as the store is concerned."""


class FailsAfter(FileSidecar):
    """Beside a database whose process ends right after one kind of change here."""

    def __init__(self, database: Path, change: str) -> None:
        super().__init__(database)
        self._change = change

    def replace(self, name: str, content: bytes, *, secret: bool = False) -> None:
        super().replace(name, content, secret=secret)
        self._end("replace")

    def create_secret(self, name: str, content: bytes) -> None:
        super().create_secret(name, content)
        self._end("create")

    def rename(self, name: str, new_name: str) -> None:
        super().rename(name, new_name)
        self._end("rename")

    def _end(self, change: str) -> None:
        if self._change == change:
            raise Interrupted


@pytest.mark.parametrize("change", ["create", "replace", "rename"])
@pytest.mark.parametrize("act", [publish, rotate], ids=["first publication", "first rotation"])
def test_an_end_between_the_log_and_what_lies_beside_it_is_made_up_for(
    act: Callable[[DecisionStore], object], change: str, tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    storage = SqliteStorage(path.resolve())
    storage.sidecar = FailsAfter(path, change)
    with DecisionStore(storage=storage) as store:
        request_id = approved(NexusControlTools(store))
        with contextlib.suppress(Interrupted):
            act(store)
    with DecisionStore(path) as again:
        assert find_faults(again) == []
        rotate(again)
        proof = prove(again, request_id, 0, 0)
        assert proof.signed_by([keys_of(again)[-1].verifier]).signatures
        assert find_faults(again) == []


def test_what_could_not_be_written_whole_leaves_nothing_behind(
    on_file: NexusControlTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    request_id = approved(on_file)
    before = sorted(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with refused(ErrorCode.STORE_UNAVAILABLE):
            publish(on_file.store)
    assert sorted(tmp_path.iterdir()) == before
    prove(on_file.store, request_id, 0, 0)
    after = sorted(tmp_path.iterdir())
    for _ in range(3):  # a note of another length needs a new file
        approved(on_file)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with refused(ErrorCode.STORE_UNAVAILABLE):
            publish(on_file.store)
    assert sorted(tmp_path.iterdir()) == after
    assert find_faults(on_file.store) == []


def _checkpoint_of(store: Path) -> Path:
    return store.with_name(f"{store.name}.checkpoint")


def _in_another_process(call: str, store: Path) -> None:
    code = f"""
import sys
from nexus_control import DecisionStore
from nexus_control.log.checkpoints import publish
from nexus_control.log.log_keys import rotate
with DecisionStore(sys.argv[1]) as store:
    {call}(store)
"""
    subprocess.run([sys.executable, "-c", code, store], check=True, cwd=REPOSITORY)


def test_a_log_that_did_not_grow_is_neither_signed_nor_written_again(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    request_id = approved(on_file)
    first = publish(on_file.store)
    before = _checkpoint_of(tmp_path / "store.db").stat()
    assert publish(on_file.store) == first
    assert prove(on_file.store, request_id, 0, 2).note == first.note
    after = _checkpoint_of(tmp_path / "store.db").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_key_that_another_process_rotated_signs_the_next_checkpoint(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    request_id = approved(on_file)
    before = publish(on_file.store)
    _in_another_process("rotate", tmp_path / "store.db")
    proof = prove(on_file.store, request_id, 0, 0)
    first, second = keys_of(on_file.store)
    assert first.verifier == before.verifier
    assert proof.signed_by([second.verifier]).signatures
    assert not proof.signed_by([first.verifier]).signatures
    assert publish(on_file.store).verifier == second.verifier


def test_an_older_checkpoint_that_was_put_back_is_brought_forward(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    beside = _checkpoint_of(tmp_path / "store.db")
    publish(on_file.store)
    older = beside.read_bytes()
    request_id = approved(on_file)
    newer = publish(on_file.store)
    beside.write_bytes(older)
    assert prove(on_file.store, request_id, 0, 2).note == newer.note == beside.read_text()
    beside.write_bytes(older)
    assert publish(on_file.store).note == newer.note == beside.read_text()


def test_a_checkpoint_of_the_whole_log_that_somebody_else_signed_is_not_taken_for_ours(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    beside = _checkpoint_of(tmp_path / "store.db")
    own = publish(on_file.store)
    beside.write_text(sign_note(own.checkpoint.to_text(), own.checkpoint.origin, keys.generate()))
    for _ in range(2):
        with refused(ErrorCode.LOG_INCONSISTENT):
            publish(on_file.store)
    beside.write_text(own.note)
    assert publish(on_file.store) == own


def test_a_key_file_that_was_swapped_is_noticed_also_where_nothing_is_to_be_signed(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    request_id = approved(on_file)
    publish(on_file.store)
    key = tmp_path / "store.db.key"
    own = key.read_bytes()
    for content in (keys.generate().to_pem(), b"no key"):
        key.write_bytes(content)
        with refused(ErrorCode.KEY_UNUSABLE):
            publish(on_file.store)
        with refused(ErrorCode.KEY_UNUSABLE):
            prove(on_file.store, request_id, 0, 0)
    key.write_bytes(own)
    publish(on_file.store)


def test_a_checkpoint_is_overwritten_in_place_only_where_that_cannot_tear_it(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    beside = _checkpoint_of(tmp_path / "store.db")

    def is_replaced() -> bool:
        before = beside.stat()
        on_file.request(goal="rotate", actor=ALICE)
        note = publish(on_file.store).note
        assert beside.read_text() == note
        assert not beside.is_symlink()
        return beside.stat().st_ino != before.st_ino or beside.stat().st_nlink != before.st_nlink

    for _ in range(5):
        on_file.request(goal="rotate", actor=ALICE)
    publish(on_file.store)
    assert not is_replaced()
    other = tmp_path / "other"
    other.hardlink_to(beside)
    kept = other.read_text()
    assert is_replaced()
    assert other.read_text() == kept
    with beside.open() as read:
        fcntl.flock(read, fcntl.LOCK_SH)
        assert is_replaced()
    beside.chmod(0o640)
    assert is_replaced()
    beside.rename(other)
    beside.symlink_to(other)
    assert is_replaced()
    assert not is_replaced()


def test_a_kill_at_any_moment_leaves_a_checkpoint_that_the_log_continues(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    code = """
import sys
from nexus_control import Actor, DecisionStore, NexusControlTools
from nexus_control.log.checkpoints import publish
with DecisionStore(sys.argv[1]) as store:
    tools = NexusControlTools(store)
    while True:
        tools.request("rotate", Actor("human", "alice"))
        print(publish(store).checkpoint.size, flush=True)
"""
    last = 0
    for lines in (1, 7, 30):
        with subprocess.Popen(
            [sys.executable, "-c", code, store], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        ) as process:
            assert process.stdout is not None
            for _ in range(lines):
                said = int(process.stdout.readline())
                assert said > last
                last = said
            process.kill()
        with DecisionStore(store) as again:
            found = last_published(again)
            assert found is not None
            assert found.size >= last
            assert find_faults(again) == []
