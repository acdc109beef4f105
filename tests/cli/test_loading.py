import subprocess
import sys

from tests.cli.running import environment

PROBE = """
import gc, sys
from nexus_control.cli.loading import load
if sys.argv[1] == "off":
    gc.disable()
began = []
gc.callbacks.append(lambda phase, _: began.append(phase))
try:
    load(sys.argv[2])
except ModuleNotFoundError as missing:
    print(missing.name)
print(sys.argv[2] in sys.modules, len(began), gc.isenabled(), gc.get_freeze_count() > 1000)
"""


def after_loading(module: str, collector: str = "on") -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, collector, module],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_cycles_are_not_collected_while_a_command_loads_and_what_was_loaded_is_left_alone() -> None:
    assert after_loading("nexus_control.cli.serving") == ["True 0 True True"]


def test_a_process_that_collects_no_cycles_goes_on_without() -> None:
    assert after_loading("nexus_control.cli.serving", collector="off") == ["True 0 False True"]


def test_after_a_module_that_is_missing_cycles_are_collected_as_before() -> None:
    assert after_loading("nexus_control.cli.nowhere") == ["nexus_control.cli.nowhere", "False 0 True True"]
