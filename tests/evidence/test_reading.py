"""A file of evidence is parsed once and decoded once, however often its checks are asked for."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from nexus_control import artifact, verify_bundle, verify_evidence
from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.reading import read_evidence
from tests.evidence.packages import honest


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every text that is parsed, and every kind of document that is decoded, from here on."""
    done: list[object] = []
    loads: Callable[..., object] = json.loads
    decode: Callable[..., object] = artifact.decode

    def counting_loads(text: str, **options: Any) -> object:
        done.append(text)
        return loads(text, **options)

    def counting_decode(cls: type, data: object, **options: Any) -> object:
        done.append(cls.__name__)
        return decode(cls, data, **options)

    monkeypatch.setattr(json, "loads", counting_loads)
    monkeypatch.setattr(artifact, "decode", counting_decode)
    return done


@pytest.mark.parametrize("verify", [read_evidence, verify_evidence])
def test_a_package_is_parsed_and_decoded_once(verify: Callable[[bytes], Any], read: list[object]) -> None:
    text = canonical_json(honest())
    read.clear()
    assert verify(text.encode()).ok
    assert (read.count(text), read.count("AuditPackage"), read.count("DecisionBundle")) == (1, 1, 0)


@pytest.mark.parametrize("verify", [read_evidence, verify_bundle])
def test_a_bundle_is_parsed_and_decoded_once(verify: Callable[[bytes], Any], read: list[object]) -> None:
    text = canonical_json(honest()["control_bundle"])
    read.clear()
    assert verify(text.encode()).ok
    assert (read.count(text), read.count("DecisionBundle")) == (1, 1)


@pytest.mark.parametrize("name", ["package", "bundle"])
def test_the_answer_of_a_tool_is_parsed_once_and_its_artifact_decoded_once(
    name: str, read: list[object]
) -> None:
    document = honest() if name == "package" else honest()["control_bundle"]
    text = canonical_json({name: document})
    read.clear()
    assert read_evidence(text.encode()).ok
    kind = "AuditPackage" if name == "package" else "DecisionBundle"
    assert (read.count(text), read.count(canonical_json(document)), read.count(kind)) == (1, 0, 1)
