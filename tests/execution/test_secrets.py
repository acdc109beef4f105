"""Secrets of adapters: what a configuration and a plan may say, and what programs and functions get."""

import os
import traceback
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nexus_control import LocalRouter, NexusControlError, PythonAdapter, SecretSource, load_adapters
from nexus_control.configuration import look, named_source
from nexus_control.errors import ErrorCode
from nexus_control.execution.adapter import StepResult
from nexus_control.execution.config import adapters_of
from nexus_control.execution.masking import Mask, placeholder
from nexus_control.execution.plan import Call
from nexus_control.execution.revealing import revealing
from nexus_control.execution.router import RouterOutcomeUnknown, RunStopped
from nexus_control.execution.stopping import Order, Stop, heeding
from nexus_control.execution.subprocess_adapter import ArgvAdapter
from nexus_control.execution.supervision import Ended
from tests.execution.support import plan, step

VALUE = "hunter-2 of billing"
SECRETS = '[secrets.BILLING]\nfile = "token"\n[secrets.OTHER]\nvariable = "OTHER_TOKEN"\n'
HEAD = '[adapters.keys]\nkind = "subprocess"\ncapabilities = ["apply", "dry_run"]\n'
TOOL = "[adapters.keys.tools.show]\n"
NAMED = placeholder("BILLING")


def configured(folder: Path, text: str) -> Path:
    (folder / "token").write_text(VALUE + "\n")
    path = folder / "nexus-control.toml"
    path.write_text(text)
    return path


def shown(folder: Path, text: str, *, dry_run: bool = False, **args: Any) -> Any:
    """The output of the one step, which calls `show`."""
    with LocalRouter(load_adapters(configured(folder, text))) as router:
        return router.run("show", "subprocess:keys", dry_run, plan(step("show", **args)))["results"][0][
            "output"
        ]


def refusal(act: Callable[[], object]) -> NexusControlError:
    with pytest.raises(NexusControlError) as refused:
        act()
    assert VALUE not in str(refused.value.message) + str(refused.value.details)
    return refused.value


def ran_with(tokens: list[str]) -> Callable[[str], None]:
    """A function that keeps what it gets."""

    def call(token: str) -> None:
        tokens.append(token)

    return call


WAYS = {
    "a variable": ('env = { TOKEN = "{token}" }', 'printf %s "$TOKEN"', NAMED),
    "a text around it": ('env = { TOKEN = "Bearer {token}" }', 'printf %s "$TOKEN"', f"Bearer {NAMED}"),
    "standard input": ('stdin = "{token}"', "cat", NAMED),
    "a file": ('files = { TOKEN_FILE = "{token}" }', 'cat "$TOKEN_FILE"', NAMED),
}


@pytest.mark.parametrize(("way", "script", "seen"), WAYS.values(), ids=WAYS)
def test_a_program_gets_the_value_in_the_declared_way(
    tmp_path: Path, way: str, script: str, seen: str
) -> None:
    copy = f"{script} | tee got"
    text = SECRETS + HEAD + TOOL + f'argv = ["sh", "-c", \'{copy}\']\nargs = {{ token = "secret" }}\n{way}\n'
    assert shown(tmp_path, text, token=NAMED)["stdout"] == seen
    assert (tmp_path / "got").read_text() == seen.replace(NAMED, VALUE)


def test_a_variable_of_the_adapter_may_be_a_secret(tmp_path: Path) -> None:
    text = (
        SECRETS
        + HEAD
        + 'env = { TOKEN = "{secret:BILLING}" }\n'
        + TOOL
        + 'argv = ["sh", "-c", "echo $TOKEN"]\n'
    )
    assert shown(tmp_path, text)["stdout"] == f"{NAMED}\n"
    command = 'printf \'{"got": "%s"}\' "$TOKEN"'
    call = f"protocol = \"call\"\ncommand = ['sh', '-c', '''{command}''']\n"
    text = SECRETS + HEAD + 'env = { TOKEN = "{secret:BILLING}" }\n' + call
    assert shown(tmp_path, text) == {"result": {"got": NAMED}}


def test_a_dry_run_that_only_describes_needs_no_value(tmp_path: Path) -> None:
    text = SECRETS + HEAD + TOOL + 'argv = ["true"]\nargs = { t = "secret" }\nstdin = "{t}"\n'
    described = shown(tmp_path, text, dry_run=True, t="{secret:OTHER}")  # OTHER_TOKEN is not set
    assert described == {"would_run": ["true"]}


ARGS = 'args = { token = "secret", n = "int" }\n'
REFUSED = {
    "a secret in argv": (
        TOOL + 'argv = ["x", "{token}", "{n}"]\n' + ARGS,
        "tools.show.argv must not hold the secret",
    ),
    "a secret in the dry run's argv": (
        TOOL + 'argv = ["x", "{n}"]\ndry_run_argv = ["x", "{token}"]\nstdin = "{token}"\n' + ARGS,
        "tools.show.dry_run_argv has a placeholder",
    ),
    "a secret that goes nowhere": (
        TOOL + 'argv = ["x", "{n}"]\n' + ARGS,
        "tools.show.args.token is a secret that",
    ),
    "another argument in env": (
        TOOL + 'argv = ["x"]\nenv = { N = "{n}", T = "{token}" }\n' + ARGS,
        "tools.show.env.N holds {n}, which args does not declare as a secret",
    ),
    "a file without args": (TOOL + 'argv = ["x"]\nfiles = { N = "{n}" }\n', "tools.show.files.N needs args"),
    "braces without a placeholder": (
        TOOL + 'argv = ["x", "{n}"]\nstdin = "{token"\n' + ARGS,
        "tools.show.stdin has braces",
    ),
    "an argument that is not declared": (
        TOOL + 'argv = ["x", "{n}", "{m}"]\nstdin = "{token}"\n' + ARGS,
        "tools.show.args does not declare {m}",
    ),
    "an argument that is not used": (
        TOOL + 'argv = ["x"]\nargs = { n = "int" }\n',
        "tools.show.args.n is not used",
    ),
    "an unknown type": (
        TOOL + 'argv = ["x", "{n}"]\nargs = { n = "number" }\n',
        "tools.show.args must be names",
    ),
    "one variable twice": (
        TOOL + 'argv = ["x", "{n}"]\nenv = { T = "{token}" }\nfiles = { T = "{token}" }\n' + ARGS,
        "tools.show.files.T is a variable of env",
    ),
    "no time at all": (TOOL + 'argv = ["x"]\ntimeout_seconds = 0\n', "tools.show.timeout_seconds"),
    "a secret that is not declared": (
        'env = { T = "{secret:NOBODY}" }\n' + TOOL + 'argv = ["x"]\n',
        "keys.env.T names",
    ),
    "a text around an adapter's secret": (
        'env = { T = "Bearer {secret:BILLING}" }\n' + TOOL + 'argv = ["x"]\n',
        "keys.env.T must be {secret:NAME} and nothing else",
    ),
    "a secret without a source": (TOOL + 'argv = ["x"]\n[secrets.A]\n', "secrets.A must have exactly one"),
    "a secret with two sources": (
        TOOL + 'argv = ["x"]\n[secrets.A]\nfile = "a"\nvariable = "B"\n',
        "secrets.A must have exactly one",
    ),
    "an odd name": (TOOL + 'argv = ["x"]\n[secrets."A B"]\nfile = "a"\n', "secrets.A B"),
    "a pinned file that is not there": (
        'pin_files = ["gone.sh"]\n' + TOOL + 'argv = ["x"]\n',
        "keys.pin_files 'gone.sh'",
    ),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_a_declaration_that_would_leak_or_mislead_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = configured(tmp_path, SECRETS + HEAD + text)
    refused = refusal(lambda: load_adapters(path))
    assert refused.code is ErrorCode.CONFIG_INVALID
    assert says in refused.message


TYPED = 'argv = ["echo", "{s}", "{i}", "{f}", "{b}"]\n' + (
    'args = { s = "str", i = "int", f = "float", b = "bool", t = "secret" }\nstdin = "{t}"\n'
)
GOOD: dict[str, Any] = {"s": "x", "i": 1, "f": 1.5, "b": True, "t": NAMED}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a number for a text": ({"s": 1}, "args.s must be text"),
    "a text for a number": ({"i": "1"}, "args.i must be a whole number"),
    "a fraction for a whole number": ({"i": 1.5}, "args.i must be a whole number"),
    "true for a number": ({"f": True}, "args.f must be a number"),
    "a number for true": ({"b": 1}, "args.b must be true or false"),
    "a literal for a secret": ({"t": VALUE}, "args.t must be {secret:NAME} and nothing else"),
    "a number for a secret": ({"t": 7}, "args.t must be {secret:NAME} and nothing else"),
    "a text around a secret": ({"t": f"Bearer {NAMED}"}, "args.t must be {secret:NAME} and nothing else"),
    "a secret that is not declared": (
        {"t": "{secret:X}"},
        "args.t names the secret X, which is not declared",
    ),
    "a secret elsewhere": ({"s": f"a {NAMED}"}, "args.s names a secret, but the adapter does not mark it"),
}


@pytest.mark.parametrize(("given", "says"), WRONG.values(), ids=WRONG)
def test_an_argument_of_another_type_is_refused(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    with LocalRouter(load_adapters(configured(tmp_path, SECRETS + HEAD + TOOL + TYPED))) as router:
        router.check_plan("subprocess:keys", plan(step("show", **GOOD)), None)
        refused = refusal(
            lambda: router.check_plan("subprocess:keys", plan(step("show", **{**GOOD, **given})), None)
        )
    assert refused.code is ErrorCode.PLAN_INVALID
    assert says in refused.message


def test_a_whole_number_is_a_number(tmp_path: Path) -> None:
    assert (
        shown(tmp_path, SECRETS + HEAD + TOOL + TYPED, s="x", i=1, f=2, b=True, t=NAMED)["stdout"]
        == "x 1 2 true\n"
    )


@pytest.mark.parametrize("args", [{"x": NAMED}, {"x": ["deep", {"a": NAMED}]}, {NAMED: 1}])
def test_a_command_that_declares_no_arguments_takes_no_secret(tmp_path: Path, args: dict[str, Any]) -> None:
    text = SECRETS + HEAD + 'protocol = "call"\ncommand = ["true"]\n'
    with LocalRouter(load_adapters(configured(tmp_path, text))) as router:
        refused = refusal(lambda: router.check_plan("subprocess:keys", plan(step("show", **args)), None))
    assert refused.code is ErrorCode.PLAN_INVALID


def test_a_reviewer_sees_where_a_secret_goes_and_how_long_the_tool_may_take(tmp_path: Path) -> None:
    tool = TOOL + 'argv = ["x"]\nargs = { t = "secret" }\ntimeout_seconds = 7\nenv = { A = "Bearer {t}" }\n'
    text = (
        SECRETS
        + HEAD
        + 'env = { OWN = "{secret:OTHER}" }\n'
        + tool
        + 'files = { F = "{t}" }\nstdin = "{t}"\n'
    )
    with LocalRouter(load_adapters(configured(tmp_path, text))) as router:
        (described,) = router.describe("subprocess:keys", plan(step("show", t=NAMED)))
    assert described.apply.secrets == (
        "OWN = {secret:OTHER}",
        f"A = Bearer {NAMED}",
        f"F (a file) = {NAMED}",
        f"standard input = {NAMED}",
    )
    assert {"A", "F", "OWN"} <= set(described.apply.environment)
    assert described.apply.timeout_seconds == 7


def test_a_tool_is_killed_at_its_own_time_limit(tmp_path: Path) -> None:
    text = HEAD + "timeout_seconds = 600\n" + TOOL + 'argv = ["sleep", "600"]\ntimeout_seconds = 1\n'
    path = configured(tmp_path, text)
    with LocalRouter(load_adapters(path)) as router:
        ended = router.run("show", "subprocess:keys", True, plan(step("show")))
        assert ended["results"][0]["output"] == {"would_run": ["sleep", "600"]}
        with pytest.raises(Exception, match="time limit"):
            router.run("show", "subprocess:keys", False, plan(step("show")))


class OnceThereIs:
    """An order that is given once a file is there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def given(self, *, at_once: bool) -> Order | None:
        return Order("cancel", "ada cancelled the run") if self._path.exists() else None


CUT_OFF = {
    "its time limit": "sleep 600",
    "a signal": "kill -KILL $$",
    "a cancel": "touch told; sleep 600",
    "an end with a process that it left": "sleep 600 & exit 0",
    "a daemon that holds its output": "setsid sleep 3 & exit 1",
}


@pytest.mark.parametrize("then", CUT_OFF.values(), ids=CUT_OFF)
def test_no_part_of_a_value_is_left_where_a_program_was_cut_off(tmp_path: Path, then: str) -> None:
    script = f'printf "it is %.12s" "$TOKEN" | tee /dev/stderr; {then}'
    more = 'timeout_seconds = 2\nargs = { token = "secret" }\nenv = { TOKEN = "{token}" }\n'
    text = SECRETS + HEAD + TOOL + f"argv = ['sh', '-c', '{script}']\n" + more
    adapter = load_adapters(configured(tmp_path, text)).get("subprocess:keys")
    assert isinstance(adapter, ArgvAdapter)
    call = Call(tool="keys", method="show", args={"token": NAMED})
    with revealing({"BILLING": adapter.secrets["BILLING"]}), heeding(OnceThereIs(tmp_path / "told")):
        result = adapter.execute(call, dry_run=False)
    assert (result.output["stdout"], result.output["stderr"]) == ("it is ", "it is ")
    assert VALUE[0] not in str(result.error_message).rpartition("it is")[2]


def test_a_whole_output_that_ends_like_a_value_begins_stays_whole(tmp_path: Path) -> None:
    more = 'args = { token = "secret" }\nstdin = "{token}"\n'
    text = SECRETS + HEAD + TOOL + "argv = ['printf', 'it is hunter']\n" + more
    assert shown(tmp_path, text, token=NAMED)["stdout"] == "it is hunter"


@pytest.mark.parametrize("protocol", ["argv", "call"])
def test_an_output_is_masked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    masked: list[str] = []
    mask = Mask.text

    def counting(self: Mask, text: str, **cut: bool) -> str:
        masked.append(text)
        return mask(self, text, **cut)

    monkeypatch.setattr(Mask, "text", counting)
    tell = """printf \'"told-%s"\' "$TOKEN" """
    text = SECRETS + HEAD + 'env = { TOKEN = "{secret:BILLING}" }\n'
    if protocol == "call":
        text += f"protocol = 'call'\ncommand = ['sh', '-c', '''{tell}''']\n"
    else:
        text += TOOL + f"argv = ['sh', '-c', '''{tell}''']\n"
    assert f"told-{NAMED}" in str(shown(tmp_path, text))
    assert sum("told-" in text for text in masked) == 1


def test_nothing_that_the_context_of_a_run_holds_shows_a_value(tmp_path: Path) -> None:
    shown: list[str] = []

    def look(token: str) -> None:
        shown.extend(repr(value) for value in copy_context().values())

    (tmp_path / "token").write_text(VALUE)
    secrets = {"A": SecretSource(file="token", base=tmp_path)}
    adapter = PythonAdapter("keys", {"look": look}, secret_args=["token"], secrets=secrets)
    with LocalRouter([adapter]) as router:
        router.run("look", "python:keys", False, plan(step("look", token="{secret:A}")))
    assert shown
    assert VALUE not in str(shown)
    assert VALUE not in repr(Ended(ending="exited", stdout=VALUE.encode(), last_words=VALUE.encode()))


SOURCES: dict[str, tuple[dict[str, Any], str]] = {
    "no file": ({"file": "gone"}, "the file gone: No such file"),
    "a folder": ({"file": "."}, "the file .:"),
    "no variable": ({"variable": "NOT_SET_AT_ALL"}, "the variable NOT_SET_AT_ALL is not set"),
    "no command": ({"command": ["./gone"]}, "the command ./gone could not be started"),
    "a command that fails": ({"command": ["sh", "-c", "echo hunter-2; exit 3"]}, "exited with code 3"),
    "too short": ({"command": ["echo", "abc"]}, "fewer than 4 characters"),
    "too long": ({"command": ["head", "-c", "70000", "/dev/zero"]}, "longer than 65536 bytes"),
    "not text": ({"command": ["printf", "\\377\\377\\377\\377"]}, "not UTF-8"),
    "NUL": ({"command": ["head", "-c", "9", "/dev/zero"]}, "holds NUL"),
    "a part of its placeholder": ({"command": ["echo", "secret"]}, "is a part of {secret:A}"),
}


@pytest.mark.parametrize(("source", "says"), SOURCES.values(), ids=SOURCES)
def test_a_secret_that_cannot_be_read_is_told_before_anything_is_claimed(
    tmp_path: Path, source: dict[str, Any], says: str
) -> None:
    ran: list[str] = []
    secrets = {"A": SecretSource(base=tmp_path, **source)}
    adapter = PythonAdapter("keys", {"call": ran_with(ran)}, secret_args=["token"], secrets=secrets)
    text = plan(step("call", token="{secret:A}"))
    with LocalRouter([adapter]) as router:
        refused = refusal(lambda: router.require_ready("python:keys", False, text))
        answer = router.run("call", "python:keys", False, text)
    assert (refused.code, answer["error"]["code"]) == (ErrorCode.ROUTER_NOT_READY, "ROUTER_NOT_READY")
    assert refused.message == answer["error"]["message"]
    assert "secret A cannot be read" in refused.message
    assert says in refused.message
    assert (ran, answer["results"]) == ([], [])


SOURCES_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, "exactly one of file, variable and command"),
    "two": ({"file": "a", "variable": "B"}, "exactly one of file, variable and command"),
    "an empty file": ({"file": ""}, "needs a file"),
    "no word": ({"command": []}, "a list of words"),
    "an empty word": ({"command": [""]}, "a list of words"),
    "a text": ({"command": "echo hi"}, "a list of words"),
    "NUL in a file": ({"file": "a\0b"}, "file of text without NUL"),
    "NUL in a command": ({"command": ["echo", "a\0b"]}, "command of text without NUL"),
    "a number": ({"command": ["sleep", 1]}, "command of text without NUL"),
}


@pytest.mark.parametrize(("source", "says"), SOURCES_REFUSED.values(), ids=SOURCES_REFUSED)
def test_a_source_that_could_not_be_read_is_refused_when_it_is_made(
    source: dict[str, Any], says: str
) -> None:
    refused = refusal(lambda: SecretSource(**source))
    assert refused.code is ErrorCode.CONFIG_INVALID
    assert says in refused.message


@pytest.mark.parametrize(
    ("order", "script", "says"),
    [
        ("the server ended", "exec sleep 600", "was killed because the server ended"),
        (None, "kill -KILL $PPID; sleep 600", "lost its supervisor"),
    ],
)
def test_a_command_that_was_killed_is_told_as_what_it_is(order: str | None, script: str, says: str) -> None:
    stop = Stop()
    if order:
        stop.order(order)
    source = SecretSource(command=["sh", "-c", script])
    with heeding(stop), pytest.raises(NexusControlError, match=says), revealing({"A": source}):
        pass


def test_a_value_is_read_once_a_run_and_again_in_the_next(tmp_path: Path) -> None:
    got: list[str] = []
    (tmp_path / "count").write_text("")
    counting = 'echo x >> count; printf "value-%s" "$(wc -l < count)"'
    source = SecretSource(command=["sh", "-c", counting], base=tmp_path)
    adapter = PythonAdapter("keys", {"call": ran_with(got)}, secret_args=["token"], secrets={"A": source})
    text = plan(*(step("call", str(n), token="{secret:A}") for n in range(3)))
    with LocalRouter([adapter]) as router:
        router.run("call", "python:keys", False, text)
        router.run("call", "python:keys", False, text)
    assert got == ["value-1"] * 3 + ["value-2"] * 3


def test_a_function_gets_the_value_and_what_it_gives_back_or_raises_is_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("A_TOKEN", VALUE)
    got: list[str] = []

    async def later(token: str) -> object:
        return {token: [token, f"<{token}>"]}

    def failing(token: str) -> None:
        got.append(token)
        raise LookupError("x" * 2040 + token)

    def keyed(token: str) -> None:
        raise KeyError({"a": token})

    methods = {"later": later, "failing": failing, "keyed": keyed}
    secrets = {"A": SecretSource(variable="A_TOKEN")}
    adapter = PythonAdapter("keys", methods, secret_args=["token"], secrets=secrets)
    with LocalRouter([adapter]) as router:
        answers = [
            router.run("x", "python:keys", False, plan(step(method, token="{secret:A}")))
            for method in methods
        ]
        logged = str([router.export_run(answer["run"]["run_id"]) for answer in answers])
    assert answers[0]["results"][0]["output"]["result"] == {"{secret:A}": ["{secret:A}", "<{secret:A}>"]}
    assert got == [VALUE]
    for word in VALUE.split():
        assert word not in str(answers).replace("{secret:A}", "") or word == "of"
        assert word not in logged or word == "of"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, BaseException, TimeoutError])
def test_what_ends_a_run_tells_no_value(monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]) -> None:
    monkeypatch.setenv("A_TOKEN", VALUE)

    def ending(token: str) -> None:
        raise kind(f"with {token}")

    adapter = PythonAdapter(
        "keys", {"end": ending}, secret_args=["token"], secrets={"A": SecretSource(variable="A_TOKEN")}
    )
    with LocalRouter([adapter]) as router, pytest.raises(BaseException, match=r"with \{secret:A\}") as raised:
        router.run("x", "python:keys", False, plan(step("end", token="{secret:A}")))
    assert VALUE not in repr(raised.value)


class Raising(PythonAdapter):
    """An adapter of somebody else's, which raises what it should give back."""

    error: BaseException | None = None

    def execute(self, call: Call, *, dry_run: bool) -> StepResult:
        assert self.error is not None
        raise self.error


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        RouterOutcomeUnknown(f"with {VALUE}", f"run {VALUE}"),
        RunStopped(f"with {VALUE}"),
        NexusControlError(
            ErrorCode.ROUTER_ERROR, f"with {VALUE}", {VALUE: [VALUE]}, advice=f"Do without {VALUE}."
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_an_adapter_raises_keeps_its_kind_and_tells_no_value(
    tmp_path: Path, error: BaseException, dry_run: bool
) -> None:
    (tmp_path / "token").write_text(VALUE)
    secrets = {"A": SecretSource(file="token", base=tmp_path)}
    methods = {"end": ran_with([])}
    adapter = Raising("keys", methods, dry_run_methods=methods, secret_args=["token"], secrets=secrets)
    adapter.error = error
    kind = RouterOutcomeUnknown if isinstance(error, NexusControlError) and not dry_run else type(error)
    with LocalRouter([adapter]) as router, pytest.raises(kind, match=r"with \{secret:A\}") as raised:
        router.run("x", "python:keys", dry_run, plan(step("end", token="{secret:A}")))
    assert VALUE not in "".join(traceback.format_exception(raised.value))
    assert VALUE not in str(vars(raised.value))


def test_a_run_within_a_run_masks_the_values_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", VALUE)
    monkeypatch.setenv("B_TOKEN", "the-inner-one")

    def tell(token: str, outer: str) -> str:
        return f"{token} {outer}"

    inner = LocalRouter(
        [
            PythonAdapter(
                "keys", {"t": tell}, secret_args=["token"], secrets={"A": SecretSource(variable="B_TOKEN")}
            )
        ]
    )

    def call(token: str) -> object:
        text = plan(step("t", token="{secret:A}", outer=token))
        return inner.run("x", "python:keys", False, text)["results"][0]["output"]["result"]

    outer = PythonAdapter(
        "keys", {"c": call}, secret_args=["token"], secrets={"A": SecretSource(variable="A_TOKEN")}
    )
    with inner, LocalRouter([outer]) as router:
        answer = router.run("x", "python:keys", False, plan(step("c", token="{secret:A}")))
    assert answer["results"][0]["output"]["result"] == "{secret:A} {secret:A}"


def test_a_secret_argument_that_no_function_has_is_refused() -> None:
    assert (
        refusal(lambda: PythonAdapter("k", {"c": ran_with([])}, secret_args=["b"])).code
        is ErrorCode.CONFIG_INVALID
    )
    assert refusal(lambda: PythonAdapter("k", {}, secrets={"a b": SecretSource(variable="X")})).code
    assert refusal(lambda: SecretSource()).code is ErrorCode.CONFIG_INVALID
    assert refusal(lambda: SecretSource(file="a", variable="b")).code is ErrorCode.CONFIG_INVALID


def test_the_digest_is_of_the_source_and_never_of_the_value(tmp_path: Path) -> None:
    tool = TOOL + 'argv = ["true"]\nargs = { t = "secret" }\nstdin = "{t}"\n'
    path = configured(tmp_path, SECRETS + HEAD + tool)
    first = load_adapters(path).digest("subprocess:keys")
    (tmp_path / "token").write_text("another-value")
    assert load_adapters(path).digest("subprocess:keys") == first
    path.write_text(path.read_text().replace('file = "token"', 'file = "token2"'))
    assert load_adapters(path).digest("subprocess:keys") != first


def test_a_projects_file_gives_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o700)
    configured(folder, SECRETS + HEAD + 'env = { T = "{secret:BILLING}" }\n' + TOOL + 'argv = ["true"]\n')
    monkeypatch.chdir(folder)
    found = look(user=tmp_path / "no", system=tmp_path / "none").sources[0]
    source = replace(found, unsafe=None, table=named_source(folder / "nexus-control.toml").table)
    assert source.kind == "project"
    refused = refusal(lambda: adapters_of(source))
    assert "names the secret BILLING, which is not declared" in refused.message


def test_a_pinned_file_is_part_of_the_digest_as_it_is_now(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    script = tmp_path / "work" / "deploy.sh"
    script.write_text("echo 1\n")
    text = HEAD + 'cwd = "work"\npin_files = ["deploy.sh"]\n' + TOOL + 'argv = ["sh", "deploy.sh"]\n'
    with LocalRouter(load_adapters(configured(tmp_path, text))) as router:
        first = router.adapter_digest("subprocess:keys")
        assert router.adapter_digest("subprocess:keys") == first
        script.write_text("echo 2\n")
        assert router.adapter_digest("subprocess:keys") != first
        script.write_text("echo 1\n")
        assert router.adapter_digest("subprocess:keys") == first
        script.unlink()
        assert router.adapter_digest("subprocess:keys") != first
        obstacle = router.obstacle_to("subprocess:keys", False, plan(step("show")))
        assert obstacle is not None
        assert "the pinned file deploy.sh is not there" in obstacle.text
        os.mkfifo(script)
        assert router.obstacle_to("subprocess:keys", False, plan(step("show"))) is not None
