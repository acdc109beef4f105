import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_control.audit_package import verify_audit_package
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.toolset.artifact_files import file_name, read_artifact, write_artifact
from nexus_control.toolset.fitting import INLINE_BYTES
from nexus_control.usecases.checks import MAX_GOAL
from tests.toolset.bench import LONG_GOAL, Bench, foreign_bundle


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def large_decision(bench: Bench) -> str:
    """A decision that is too large for an answer."""
    return bench.request(goal="x" * MAX_GOAL, labels=[f"{n:064}" for n in range(32)], adapter_id=None)


def bundle_file(bench: Bench) -> Path:
    """The file of its bundle."""
    return Path(bench.data("export_bundle", decision_id=large_decision(bench))["path"])


def test_a_small_artifact_is_in_the_answer(bench: Bench) -> None:
    answer = bench.data("export_bundle", decision_id=bench.request())
    assert answer["digest"] == answer["bundle"]["integrity"]["canonical_digest"]
    assert answer["bytes"] == len(canonical_json(answer["bundle"]).encode()) <= INLINE_BYTES
    assert answer["event_count"] == len(answer["bundle"]["events"]) == 2
    assert "path" not in answer
    assert bench.context.artifacts is not None
    assert not bench.context.artifacts.exists()


def test_a_large_bundle_is_in_a_file_and_the_answer_says_which(bench: Bench) -> None:
    answer = bench.data("export_bundle", decision_id=large_decision(bench))
    content = Path(answer["path"]).read_bytes()
    bundle = json.loads(content)
    assert answer["bytes"] == len(content) > INLINE_BYTES
    assert answer["file_sha256"] == hashlib.sha256(content).hexdigest()
    assert answer["digest"] == bundle["integrity"]["canonical_digest"]
    assert answer["event_count"] == len(bundle["events"]) == 2
    assert not {"bundle", "canonical_json", "rendered"} & answer.keys()


def test_a_large_package_in_a_file_verifies(bench: Bench) -> None:
    answer = bench.data("export_audit_package", decision_id=bench.executed(goal=LONG_GOAL))
    content = Path(answer["path"]).read_bytes()
    assert verify_audit_package(content).ok
    assert answer["digest"] == json.loads(content)["integrity"]["binding_digest"]
    assert answer["run_id"] == json.loads(content)["control_bundle"]["router_link"]["run_id"]
    assert not {"package", "canonical_json", "rendered"} & answer.keys()


def test_only_the_owner_may_enter_the_folder_and_read_the_files(bench: Bench) -> None:
    before = os.umask(0)
    try:
        path = bundle_file(bench)
    finally:
        os.umask(before)
    assert mode_of(path.parent) == 0o700
    assert mode_of(path) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_an_exported_file_is_imported_by_its_name_or_by_the_path_that_was_answered(bench: Bench) -> None:
    file = bundle_file(bench)
    file.write_text(canonical_json(foreign_bundle()))
    for path in (file.name, str(file)):
        answer = bench.data("import_bundle", path=path, conflict_mode="new_decision_id")
        assert answer["imported"]["events_imported"] == 2


@pytest.mark.parametrize(
    "path",
    [
        "../decisions.db",
        "..",
        ".",
        "inner/../../decisions.db",
        "inner/bundle.json",
        "/etc/passwd",
        "/",
        "{folder}/../decisions.db",
        "{folder}/inner/bundle.json",
        "{folder}",
        "link.json",
        "pipe",
        "inner",
        "missing.json",
        "with\x00nul",
        "a" * 300,
    ],
)
def test_no_path_leads_out_of_the_folder(bench: Bench, tmp_path: Path, path: str) -> None:
    good = bundle_file(bench)
    folder = good.parent
    outside = tmp_path / "decisions.db"
    outside.write_bytes(good.read_bytes())
    folder.joinpath("inner").mkdir()
    folder.joinpath("inner", "bundle.json").write_bytes(good.read_bytes())
    folder.joinpath("link.json").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    answer = bench.error("import_bundle", path=path.format(folder=folder), conflict_mode="new_decision_id")
    assert answer["code"] == "INVALID_ARGUMENT"
    assert len(bench.context.store.list_decisions()) == 1


def test_refused_paths_leave_no_descriptor_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (".", "..", "pipe", "missing") * 10:
        with pytest.raises(NexusControlError):
            read_artifact(tmp_path, path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(bench: Bench, tmp_path: Path) -> None:
    path = bundle_file(bench)
    outside = tmp_path / "precious"
    outside.write_text("precious")
    path.unlink()
    path.symlink_to(outside)
    write_artifact(path.parent, path.name, b"{}")
    assert outside.read_text() == "precious"
    assert not path.is_symlink()


@pytest.mark.parametrize(
    "decision_id", ["../../etc/passwd", "a/b", ".", "..", ".hidden", "", "a\x00b", "ü", "a" * 300]
)
def test_an_id_from_elsewhere_names_a_file_in_the_folder_all_the_same(
    tmp_path: Path, decision_id: str
) -> None:
    path = write_artifact(tmp_path, file_name("bundle", decision_id), b"{}")
    assert path.parent == tmp_path
    assert read_artifact(tmp_path, path.name) == b"{}"


def test_two_ids_never_share_a_file_name() -> None:
    ids = ["a", "A", "a.json", "a/b", "a_b", ""]
    assert len({file_name("bundle", decision_id) for decision_id in ids}) == len(ids)


def test_a_folder_that_cannot_be_written_is_a_fault_with_a_code(bench: Bench, tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("a file")
    bench.change(artifacts=occupied)
    answer = bench.error("export_bundle", decision_id=large_decision(bench))
    assert answer["code"] == "ARTIFACTS_UNAVAILABLE"
    assert occupied.read_text() == "a file"


def test_a_draft_that_was_not_finished_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(NexusControlError) as refused:
        write_artifact(tmp_path, "taken", b"{}")
    assert refused.value.code is ErrorCode.ARTIFACTS_UNAVAILABLE
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]


def _link(folder: Path) -> None:
    folder.rename(folder.with_name("theirs"))
    folder.symlink_to(folder.with_name("theirs"))


NOT_OURS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link": (_link, "is a link"),
    "written by a group": (lambda folder: folder.chmod(0o770), "may be written by others"),
    "written by all": (lambda folder: folder.chmod(0o1777), "may be written by others"),
    "of another user": (lambda folder: os.chown(folder, 65534, -1), "belongs to another user"),
}


@pytest.mark.parametrize("what", NOT_OURS)
def test_a_folder_that_another_user_could_have_filled_is_neither_read_nor_written(
    what: str, tmp_path: Path
) -> None:
    change, said = NOT_OURS[what]
    if what == "of another user" and os.geteuid() != 0:
        pytest.skip("only root gives folders away")
    folder = tmp_path / "artifacts"
    write_artifact(folder, "bundle-1.json", b"{}")
    change(folder)
    for action in (
        lambda: write_artifact(folder, "new", b"{}"),
        lambda: read_artifact(folder, "bundle-1.json"),
    ):
        with pytest.raises(NexusControlError, match=said) as refused:
            action()
        assert refused.value.code is ErrorCode.ARTIFACTS_UNAVAILABLE
    assert [each.name for each in folder.iterdir()] == ["bundle-1.json"]
