import json
import shutil
from pathlib import Path

from tests.artifacts.samples import VECTORS
from tests.cli.screens.golden import Screen, Shot, each

INTEROP = VECTORS / "evidence" / "interop"


def received(folder: Path) -> dict[str, str]:
    """A package with its envelope, keys of people whom the verifier trusts, and two files that are not as they were."""
    for name in ("package.json", "package.dsse.json", "operator.pub", "allowed_signers"):
        shutil.copy(INTEROP / name, folder)
    package = (INTEROP / "package.json").read_text(encoding="utf-8")
    (folder / "changed.json").write_text(package.replace('"bob"', '"eve"'), encoding="utf-8")
    bundle = json.loads(package)["control_bundle"]
    (folder / "bundle.json").write_text(json.dumps(bundle), encoding="utf-8")
    (folder / "torn.json").write_text(package[:200], encoding="utf-8")
    return {}


SCREENS = {
    "verify-package": Screen("verify", "package.json", "--package-key", "operator.pub", store=received),
    "verify-not-enough": Screen("verify", "package.json", "--require", "L3", store=received),
    "verify-changed": Screen("verify", "changed.json", store=received),
    "verify-bundle": Screen("verify", "bundle.json", store=received),
    "verify-torn": Screen("verify", "torn.json", store=received),
    "verify-no-file": Screen("verify", "package.jsno", store=received),
    "verify-no-key": Screen("verify", "package.json", "--package-key", "allowed_signers", store=received),
    "report-package": Screen("report", "package.json", "-o", "report.html", store=received),
    "report-no-database": Screen("report", "f81d4fae", store=received),
}


@each(SCREENS)
def test_verdicts_look_as_they_did(shot: Shot) -> None:
    shot.check()
