"""The head beside a store: when it is written, what it is held against, and what becomes of a store that lost."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.log.beside import unknown_to_head
from nexus_control.log.checkpoints import last_published, publish, require_continued
from nexus_control.log.head import Head, advance, head_of, losses, parse_head, remember
from nexus_control.log.log_keys import rotate
from nexus_control.log.upkeep import accept_rollback, find_faults, rebuild_derived
from nexus_control.storage import open_storage
from tests.support.amounts import sample_of
from tests.support.contents import contents
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of
from tests.support.routers import ScriptedRouter, good_answer
from tests.support.watched_storage import Moment, WatchedStorage

LOST = Head(size=999, root="0" * 64)


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


def head_in(store: DecisionStore) -> Head | None:
    return parse_head(store.sidecar.slot("head").read())


def head_now(store: DecisionStore) -> Head:
    with store.reading() as session:
        return head_of(session)


def put(store: DecisionStore, content: bytes) -> None:
    store.sidecar.slot("head").update(lambda _: content)


def execute(tools: NexusControlTools, request_id: str, router: ScriptedRouter | None = None) -> str | None:
    """The code of the refusal or failure; None for a success."""
    return tools.execute(request_id, ADAPTER, SCHEDULER, router or ScriptedRouter(good_answer)).error_code


# --- when it is written -------------------------------------------------------------------------------------------


def test_what_only_asks_or_agrees_leaves_no_head(tools: NexusControlTools) -> None:
    approved(tools)
    data_of(tools.template_create("rotation", ALICE))
    assert head_in(tools.store) is None


def deny(tools: NexusControlTools, request_id: str) -> None:
    data_of(tools.deny(request_id, BOB, "Not in the freeze"))


def revoke(tools: NexusControlTools, request_id: str) -> None:
    data_of(tools.revoke_approval(request_id, BOB, "On reflection"))


def withdraw(tools: NexusControlTools, request_id: str) -> None:
    data_of(tools.withdraw(request_id, ALICE, "Not needed"))


VERDICTS = pytest.mark.parametrize("verdict", [deny, revoke, withdraw])


@VERDICTS
def test_what_stops_a_decision_brings_the_head_forward(
    verdict: Callable[[NexusControlTools, str], None], tools: NexusControlTools
) -> None:
    request_id = approved(tools)
    verdict(tools, request_id)
    assert head_in(tools.store) == head_now(tools.store)
    approved(tools)
    verdict(tools, approved(tools))
    assert head_in(tools.store) == head_now(tools.store)


def test_the_head_knows_of_the_claim_before_the_router_is_called(tools: NexusControlTools) -> None:
    seen: list[Head | None] = []

    def act() -> object:
        seen.extend([head_in(tools.store), head_now(tools.store)])
        return good_answer()

    assert execute(tools, approved(tools), ScriptedRouter(act)) is None
    assert seen[0] == seen[1]


def test_a_refused_execution_makes_no_head(tools: NexusControlTools) -> None:
    request_id = data_of(tools.request("g", ALICE))["request_id"]
    assert execute(tools, request_id) == "POLICY_NOT_SATISFIED"
    assert head_in(tools.store) is None


def test_the_head_is_three_lines_of_one_length(on_file: NexusControlTools, tmp_path: Path) -> None:
    lengths: set[int] = set()
    for _ in range(5):
        deny(on_file, approved(on_file))
        content = (tmp_path / "store.db.head").read_bytes()
        head = head_now(on_file.store)
        assert content == f"nexus-control/head/v1\n{head.size:016}\n{head.root}\n".encode()
        lengths.add(len(content))
    assert len(lengths) == 1


# --- forward only -------------------------------------------------------------------------------------------------


def test_a_slower_writer_does_not_take_the_head_back(tools: NexusControlTools) -> None:
    approved(tools)
    slower = head_now(tools.store)
    deny(tools, approved(tools))
    faster = head_in(tools.store)
    advance(tools.store, b"", slower)
    assert head_in(tools.store) == faster == head_now(tools.store)


def test_a_faster_writer_in_between_is_passed(tools: NexusControlTools) -> None:
    deny(tools, approved(tools))
    before = tools.store.sidecar.slot("head").read()
    deny(tools, approved(tools))
    approved(tools)
    newest = head_now(tools.store)
    advance(tools.store, before, newest)
    assert head_in(tools.store) == newest


def test_a_head_that_the_log_does_not_continue_is_never_replaced(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    put(tools.store, LOST.to_bytes())
    remember(tools.store)
    deny(tools, approved(tools))
    for known in (b"", LOST.to_bytes()[:-1]):
        with pytest.raises(NexusControlError) as caught:
            advance(tools.store, known, head_now(tools.store))
        assert caught.value.code == ErrorCode.STORE_ROLLED_BACK
    assert execute(tools, request_id) == "STORE_ROLLED_BACK"
    assert head_in(tools.store) == LOST


def test_many_at_once_leave_the_head_of_the_last(on_file: NexusControlTools) -> None:
    request_ids = [approved(on_file) for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(deny, on_file), request_ids))
    assert head_in(on_file.store) == head_now(on_file.store)


# --- faults between commit and head -------------------------------------------------------------------------------


class KilledError(BaseException):
    """Stands for the end of the process: nothing of ours catches it and goes on."""


def watched(path: Path, moment: Moment, event_type: str, act: Callable[[], None]) -> NexusControlTools:
    def watch(now: Moment, types: frozenset[str]) -> None:
        if now == moment and event_type in types:
            act()

    return NexusControlTools(DecisionStore(storage=WatchedStorage(open_storage(path), watch)))


def test_who_is_killed_between_claim_and_head_has_dispatched_nothing(tmp_path: Path) -> None:
    path, router = tmp_path / "store.db", ScriptedRouter(good_answer)

    def killed() -> None:
        raise KilledError

    tools = watched(path, "committed", "EXECUTION_STARTED", killed)
    request_id = approved(tools)
    with pytest.raises(KilledError):
        execute(tools, request_id, router)
    assert (router.runs, head_in(tools.store)) == (0, None)
    assert "does not know" not in (unknown_to_head(tools.store) or "")


def test_who_is_killed_between_a_denial_and_the_head_leaves_an_older_head_and_doctor_says_so(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    moments: list[str] = []

    def killed() -> None:
        moments.append("denied")
        if len(moments) == 2:
            raise KilledError

    tools = watched(path, "committed", "APPROVAL_DENIED", killed)
    deny(tools, approved(tools))
    before, request_id = head_in(tools.store), approved(tools)
    with pytest.raises(KilledError):
        tools.deny(request_id, BOB, "No")
    assert head_in(tools.store) == before
    assert data_of(tools.status(request_id))["state"] == "denied"
    assert find_faults(tools.store) == []
    assert "does not know of entry" in (unknown_to_head(tools.store) or "")
    deny(tools, approved(tools))
    assert unknown_to_head(tools.store) is None


def test_where_the_head_cannot_be_written_after_the_claim_nothing_is_dispatched(tmp_path: Path) -> None:
    path, router = tmp_path / "store.db", ScriptedRouter(good_answer)

    def spoil() -> None:
        Path(f"{path}.head").unlink()
        Path(f"{path}.head").mkdir()

    tools = watched(path, "committed", "EXECUTION_STARTED", spoil)
    request_id = approved(tools)
    result = tools.execute(request_id, ADAPTER, SCHEDULER, router)
    assert (result.error_code, router.runs) == ("ROUTER_ERROR", 0)
    assert "Nothing was run" in (result.error or "")
    assert data_of(tools.status(request_id))["state"] == "failed"


# --- what lies in its place ---------------------------------------------------------------------------------------

NOTHING = (b"", b"\n", b"garbage", b"\xff" * 4096, b"nexus-control/head/v2\n")


@pytest.mark.parametrize("content", NOTHING, ids=repr)
def test_what_says_nothing_stops_nothing_and_is_replaced(content: bytes, tools: NexusControlTools) -> None:
    request_id = approved(tools)
    put(tools.store, content)
    assert find_faults(tools.store) == []
    assert "denied, revoked, withdrawn or imported" in (unknown_to_head(tools.store) or "")
    assert execute(tools, request_id) is None
    assert unknown_to_head(tools.store) is None


def test_every_change_of_a_byte_is_noticed_or_says_nothing(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    """A head whose size or root was changed is another history's, and any other change makes it no head."""
    deny(on_file, approved(on_file))
    request_id, file = approved(on_file), tmp_path / "store.db.head"
    content = file.read_bytes()
    spoiled = [
        content[:place] + bytes([byte]) + content[place + 1 :]
        for place in range(len(content))
        for byte in (content[place] ^ 1, content[place] ^ 8, 0, 255)
    ]
    spoiled += [content[:size] for size in range(len(content))] + [content + b"\n", content * 2]
    router = ScriptedRouter(good_answer)
    for each in sample_of(spoiled, 200):
        file.write_bytes(each)
        says_nothing = parse_head(each) is None
        assert bool(find_faults(on_file.store)) != says_nothing, each
        assert (unknown_to_head(on_file.store) is None) != says_nothing, each
        if not says_nothing:
            assert execute(on_file, request_id, router) == "STORE_ROLLED_BACK"
            assert file.read_bytes() == each
    assert router.runs == 0
    file.write_bytes(content)
    assert find_faults(on_file.store) == []
    assert execute(on_file, request_id, router) is None


def test_a_head_has_one_spelling(on_file: NexusControlTools) -> None:
    head = head_now(on_file.store)
    content = head.to_bytes()
    assert parse_head(content) == head
    for other in (
        content.upper(),
        content.replace(b"\n", b"\r\n"),
        b" " + content,
        content.replace(b"\n00", b"\n"),
        Head(size=2**53 - 1, root=head.root).to_bytes().replace(b"9007199254740991", b"9007199254740992"),
    ):
        assert parse_head(other) is None


def test_where_the_head_cannot_be_written_no_execution_begins(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    request_id, router = approved(on_file), ScriptedRouter(good_answer)
    (tmp_path / "store.db.head").mkdir()
    before = contents(on_file.store)
    result = on_file.execute(request_id, ADAPTER, SCHEDULER, router)
    assert (result.error_code, router.runs) == ("STORE_UNAVAILABLE", 0)
    assert "store.db.head" in (result.error or "")
    assert contents(on_file.store) == before
    assert [fault.code for fault in find_faults(on_file.store)] == ["HEAD_UNREADABLE"]
    assert "store.db.head" in (unknown_to_head(on_file.store) or "")
    (tmp_path / "store.db.head").rmdir()
    assert execute(on_file, request_id, router) is None


@VERDICTS
def test_a_verdict_stands_where_the_head_cannot_be_written(
    verdict: Callable[[NexusControlTools, str], None], on_file: NexusControlTools, tmp_path: Path
) -> None:
    request_id = approved(on_file)
    (tmp_path / "store.db.head").mkdir()
    verdict(on_file, request_id)
    status = data_of(on_file.status(request_id))
    assert (status["state"] == "approved", status["event_count"]) == (False, 4)
    (tmp_path / "store.db.head").rmdir()
    assert execute(on_file, request_id) == "POLICY_NOT_SATISFIED"


# --- a store that lost --------------------------------------------------------------------------------------------


def restored(path: Path, lose: Callable[[NexusControlTools], object]) -> NexusControlTools:
    """The closed store as it is now, beside what `lose` leaves there."""
    backup = path.with_name("backup")
    shutil.copy(path, backup)
    with DecisionStore(path) as store:
        lose(NexusControlTools(store))
    shutil.copy(backup, path)
    return NexusControlTools(db_path=path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store whose log has a key and a checkpoint, and in which one decision was approved."""
    path = tmp_path / "store.db"
    with DecisionStore(path) as store:
        publish(store)
        approved(NexusControlTools(store))
    return path


def open_request(tools: NexusControlTools) -> str:
    return data_of(tools.list_requests())["requests"][-1]["request_id"]


def executed_and_signed(tools: NexusControlTools) -> None:
    assert execute(tools, open_request(tools)) is None
    publish(tools.store)


def test_a_restored_store_that_grew_longer_than_its_head_executes_nothing_either(path: Path) -> None:
    tools = restored(path, executed_and_signed)
    lost, router = head_in(tools.store), ScriptedRouter(good_answer)
    assert lost is not None
    while head_now(tools.store).size <= lost.size:
        deny(tools, approved(tools))
        assert execute(tools, open_request(tools), router) == "STORE_ROLLED_BACK"
    assert (head_in(tools.store), router.runs) == (lost, 0)


def test_another_store_in_its_place_executes_nothing(path: Path, tmp_path: Path) -> None:
    restored(path, executed_and_signed).store.close()
    with DecisionStore(tmp_path / "other.db") as other:
        approved(NexusControlTools(other))
    shutil.copy(tmp_path / "other.db", path)
    tools = NexusControlTools(db_path=path)
    assert execute(tools, open_request(tools)) == "STORE_ROLLED_BACK"


def test_its_owner_accepts_what_was_lost_and_the_log_says_so(path: Path) -> None:
    tools = restored(path, executed_and_signed)
    store = tools.store
    lost, note = head_in(store), (store.sidecar.read("checkpoint") or b"").decode()
    assert [fault.code for fault in find_faults(store)] == ["STORE_ROLLED_BACK", "CHECKPOINT_DIFFERS"]
    assert accept_rollback(store, ALICE)
    with store.reading() as session:
        (loss,) = losses(session)
        entry = session.rows.log()[-1].entry
    assert (loss.head, loss.checkpoint) == (lost, note)
    assert (entry.kind, entry.event_type, entry.actor_id) == ("rollback", "ROLLBACK_ACCEPTED", "alice")
    assert find_faults(store) == []
    assert head_in(store) == head_now(store)
    assert execute(tools, open_request(tools)) is None
    assert (find_faults(store), unknown_to_head(store)) == ([], None)


def test_after_the_acceptance_the_log_is_signed_again_and_a_checkpoint_kept_elsewhere_still_differs(
    path: Path,
) -> None:
    tools = restored(path, executed_and_signed)
    kept = (tools.store.sidecar.read("checkpoint") or b"").decode()
    with pytest.raises(NexusControlError):
        publish(tools.store)
    accept_rollback(tools.store, ALICE)
    assert last_published(tools.store) is None
    signed = publish(tools.store)
    assert last_published(tools.store) == signed.checkpoint
    with pytest.raises(NexusControlError) as caught:
        require_continued(tools.store, kept)
    assert caught.value.code == ErrorCode.LOG_INCONSISTENT


def only_executed(tools: NexusControlTools) -> None:
    assert execute(tools, open_request(tools)) is None


def only_signed(tools: NexusControlTools) -> None:
    approved(tools)
    publish(tools.store)


@pytest.mark.parametrize(
    ("lose", "code"), [(only_executed, "STORE_ROLLED_BACK"), (only_signed, "CHECKPOINT_DIFFERS")]
)
def test_a_head_or_a_checkpoint_that_was_lost_alone_is_accepted_alone(
    lose: Callable[[NexusControlTools], None], code: str, path: Path
) -> None:
    tools = restored(path, lose)
    assert [fault.code for fault in find_faults(tools.store)] == [code]
    assert accept_rollback(tools.store, ALICE)
    with tools.store.reading() as session:
        (loss,) = losses(session)
    assert (loss.head is None, loss.checkpoint is None) == (lose is only_signed, lose is only_executed)
    assert find_faults(tools.store) == []


def test_where_nothing_is_lost_there_is_nothing_to_accept(tools: NexusControlTools) -> None:
    def require_nothing() -> None:
        before = contents(tools.store)
        assert not accept_rollback(tools.store, ALICE)
        assert contents(tools.store) == before

    request_id = approved(tools)
    require_nothing()
    deny(tools, request_id)
    require_nothing()
    publish(tools.store)
    require_nothing()


def test_an_acceptance_holds_from_its_commit_on(path: Path) -> None:
    """Whoever is killed before the head is brought forward has accepted all the same."""
    tools = restored(path, executed_and_signed)
    lost, note = tools.store.sidecar.slot("head").read(), tools.store.sidecar.read("checkpoint")
    accept_rollback(tools.store, ALICE)
    put(tools.store, lost)
    assert (find_faults(tools.store), tools.store.sidecar.read("checkpoint")) == ([], note)
    assert not accept_rollback(tools.store, ALICE)
    assert execute(tools, open_request(tools)) is None
    assert head_in(tools.store) is not None
    assert find_faults(tools.store) == []


def test_an_acceptance_is_of_one_loss_and_not_of_the_next(path: Path) -> None:
    tools = restored(path, executed_and_signed)
    accept_rollback(tools.store, ALICE)
    tools.store.close()
    tools = restored(path, executed_and_signed)
    assert execute(tools, open_request(tools)) == "STORE_ROLLED_BACK"
    assert [fault.code for fault in find_faults(tools.store)] == ["STORE_ROLLED_BACK", "CHECKPOINT_DIFFERS"]
    assert accept_rollback(tools.store, BOB)
    with tools.store.reading() as session:
        assert len(losses(session)) == 2
    assert find_faults(tools.store) == []


def test_a_copy_from_before_an_acceptance_is_an_older_copy_too(path: Path) -> None:
    tools = restored(path, executed_and_signed)
    tools.store.close()
    tools = restored(path, lambda tools: accept_rollback(tools.store, ALICE))
    assert execute(tools, open_request(tools)) == "STORE_ROLLED_BACK"


def test_what_is_derived_can_be_rebuilt_after_an_acceptance(path: Path) -> None:
    tools = restored(path, executed_and_signed)
    accept_rollback(tools.store, ALICE)
    rebuild_derived(tools.store)
    assert find_faults(tools.store) == []
    assert execute(tools, open_request(tools)) is None


def test_a_key_that_was_rotated_since_is_named_and_not_guessed(path: Path) -> None:
    """An older copy names the key that is gone: what is lost is accepted, and the key is the owner's next step."""

    def lose(tools: NexusControlTools) -> None:
        executed_and_signed(tools)
        rotate(tools.store)
        publish(tools.store)

    tools = restored(path, lose)
    accept_rollback(tools.store, ALICE)
    assert find_faults(tools.store) == []
    with pytest.raises(NexusControlError) as caught:
        publish(tools.store)
    assert caught.value.code == ErrorCode.KEY_UNUSABLE


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"\xff\xfe", "LOG_INCONSISTENT"), (b"x" * 100_000, "STORE_UNAVAILABLE")],
    ids=["no text", "too long"],
)
def test_what_is_no_checkpoint_is_named_and_not_accepted(content: bytes, code: str, path: Path) -> None:
    tools = restored(path, only_executed)
    tools.store.sidecar.replace("checkpoint", content)
    before = contents(tools.store)
    with pytest.raises(NexusControlError, match=r"store\.db\.checkpoint") as caught:
        accept_rollback(tools.store, ALICE)
    assert caught.value.code == code
    assert contents(tools.store) == before


def test_an_empty_checkpoint_is_not_taken_for_one_that_was_accepted(path: Path) -> None:
    tools = restored(path, only_executed)
    accept_rollback(tools.store, ALICE)
    tools.store.sidecar.replace("checkpoint", b"")
    assert [fault.code for fault in find_faults(tools.store)] == ["CHECKPOINT_UNREADABLE"]


def test_the_head_is_not_flushed_to_the_disk(
    tools: NexusControlTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    assert execute(tools, approved(tools)) is None
    deny(tools, approved(tools))
    assert flushed == []


# --- a head that cannot be read, or is kept locked ---------------------------------------------------------------


def test_a_head_that_cannot_be_read_keeps_nobody_from_looking_signing_or_ending_a_request(
    on_file: NexusControlTools, tmp_path: Path
) -> None:
    request_id = approved(on_file)
    (tmp_path / "store.db.head").symlink_to(tmp_path / "store.db")
    for look in (on_file.status, on_file.inspect, partial(on_file.approval_statement, approver="bob")):
        data_of(look(request_id))
    assert publish(on_file.store).checkpoint.size
    assert execute(on_file, request_id) == ErrorCode.STORE_UNAVAILABLE
    data_of(on_file.deny(request_id, BOB, "not now"))


@pytest.mark.parametrize("work", ["publish", "execute", "deny"])
def test_who_keeps_the_head_locked_holds_up_no_other_writer(
    work: str, on_file: NexusControlTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_control.storage.slot._PATIENCE_SECONDS", 60.0)
    denied, later = approved(on_file), approved(on_file)
    data_of(on_file.deny(denied, BOB, "makes the head"))
    calls: dict[str, Callable[[], object]] = {
        "publish": lambda: publish(on_file.store),
        "execute": lambda: execute(on_file, later),
        "deny": lambda: data_of(on_file.deny(later, BOB, "no")),
    }
    with (tmp_path / "store.db.head").open("rb") as other, ThreadPoolExecutor(1) as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = pool.submit(calls[work])
        for _ in range(20):
            data_of(on_file.request("Rotate the keys", ALICE))
        assert not waiting.done()
        fcntl.flock(other, fcntl.LOCK_UN)
        assert not isinstance(waiting.result(), str)  # the code of a refusal
