import asyncio
import functools
import math
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import StepError, StepStatus
from nexus_control.execution.plan import Call
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.execution.router import RouterOutcomeUnknown
from nexus_control.integrity import json_digest


def call(method: str = "m", **args: object) -> Call:
    return Call(tool="keys", method=method, args=args)


def rotate(service: str, *, force: bool = False) -> dict[str, object]:
    return {"rotated": service, "force": force}


def takes_any_name(service: str, **more: object) -> None: ...


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (
            call("rotat", service="a"),
            "method 'rotat' is not declared by python:keys (did you mean 'rotate'?); declared are: any, rotate",
        ),
        (call("rotate"), "args do not fit 'rotate': missing"),
        (call("rotate", service="a", n=1), "args has 'n', which is not declared"),
        (call("rotate", servise="a"), "args has 'servise', which is not declared (did you mean 'service'?)"),
        (
            call("rotate", service="a", forse=True),
            "args has 'forse', which is not declared (did you mean 'force'?)",
        ),
        (call("any"), "args do not fit 'any': missing"),
    ],
)
def test_a_call_that_does_not_fit_has_a_problem(made: Call, says: str) -> None:
    adapter = PythonAdapter("keys", {"rotate": rotate, "any": takes_any_name})
    assert adapter.problem_with(call("any", service="a", n=1)) is None
    problem = adapter.problem_with(made)
    assert problem is not None
    assert problem.startswith(says)


def test_a_call_gives_its_result() -> None:
    adapter = PythonAdapter("keys", {"rotate": rotate})
    made = call("rotate", service="a", force=True)
    assert adapter.problem_with(made) is None
    assert adapter.execute(made, dry_run=False).output == {"result": {"rotated": "a", "force": True}}


@pytest.mark.parametrize(
    ("result", "text"), [(0.5, "0.5"), ([math.nan], "[NaN]"), (b"x", "\"b'x'\""), ({1: 2}, '{"1": 2}')]
)
def test_a_result_outside_the_canonical_domain_becomes_text(result: object, text: str) -> None:
    output = PythonAdapter("keys", {"m": lambda: result}).execute(call(), dry_run=False).output
    assert output == {"result": text}


def test_a_dry_run_calls_only_what_was_registered_for_it() -> None:
    called: list[str] = []
    adapter = PythonAdapter(
        "keys",
        {"m": lambda: called.append("m"), "n": lambda: called.append("n")},
        dry_run_methods={"n": lambda: called.append("dry n")},
    )
    assert adapter.execute(call("m"), dry_run=True).output == {"would_call": {"method": "m", "args": {}}}
    adapter.execute(call("n"), dry_run=True)
    assert called == ["dry n"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ValueError("no \ud800"), "error", StepError.STEP_FAILED),
        (KeyError("x" * 9000), "error", StepError.STEP_FAILED),
        (TimeoutError("slow"), "unknown", StepError.TIMED_OUT),
        (RouterOutcomeUnknown("lost"), "unknown", StepError.EFFECT_UNKNOWN),
        (ConnectionResetError("gone"), "unknown", StepError.EFFECT_UNKNOWN),
        (SystemExit(3), "unknown", StepError.EFFECT_UNKNOWN),
        (asyncio.CancelledError(), "unknown", StepError.EFFECT_UNKNOWN),
        (ExceptionGroup("two", [ValueError(), TimeoutError()]), "unknown", StepError.EFFECT_UNKNOWN),
        (StopIteration(), "error", StepError.STEP_FAILED),
    ],
)
def test_an_exception_is_a_step_that_is_not_ok(
    error: BaseException, status: StepStatus, code: StepError
) -> None:
    def fail() -> None:
        raise error

    outcome = PythonAdapter("keys", {"m": fail}).execute(call(), dry_run=False)
    assert (outcome.status, outcome.error_code) == (status, code)
    assert len((outcome.error_message or "").encode()) < 2100


def test_what_has_no_signature_is_not_registered() -> None:
    with pytest.raises(NexusControlError) as refused:
        PythonAdapter("keys", {"m": dict.fromkeys, "n": type})
    assert refused.value.code is ErrorCode.CONFIG_INVALID


def test_the_declaration_names_callables_and_their_parameters() -> None:
    declaration = PythonAdapter("keys", {"rotate": rotate}).declaration()
    described = {"callable": f"{__name__}.rotate", "parameters": ["service", "force"]}
    assert declaration["methods"] == {"rotate": described}
    assert json_digest(declaration) == json_digest(PythonAdapter("keys", {"rotate": rotate}).declaration())


SERVICE: ContextVar[str] = ContextVar("service", default="none")


async def rotate_in_a_loop(service: str) -> dict[str, str]:
    await asyncio.sleep(0)
    return {"rotated": service, "seen": SERVICE.get()}


class Rotating:
    async def __call__(self, service: str) -> dict[str, str]:
        return await rotate_in_a_loop(service)

    async def method(self, service: str) -> dict[str, str]:
        return await rotate_in_a_loop(service)


ASYNC: dict[str, Callable[..., Awaitable[object]]] = {
    "a function": rotate_in_a_loop,
    "a part of one": functools.partial(rotate_in_a_loop),
    "an object that is called": Rotating(),
    "a method": Rotating().method,
}


@pytest.mark.parametrize("function", ASYNC.values(), ids=ASYNC)
@pytest.mark.parametrize("in_a_loop", [False, True])
def test_an_async_def_function_runs_to_its_end_and_sees_the_caller_s_context(
    function: Callable[..., Awaitable[object]], in_a_loop: bool
) -> None:
    adapter = PythonAdapter("keys", {"m": function})
    token = SERVICE.set("billing")

    async def inside() -> object:
        return adapter.execute(call(service="a"), dry_run=False).output

    try:
        output = (
            asyncio.run(inside()) if in_a_loop else adapter.execute(call(service="a"), dry_run=False).output
        )
    finally:
        SERVICE.reset(token)
    assert output == {"result": {"rotated": "a", "seen": "billing"}}


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_what_an_async_def_function_raises_is_read_as_of_any_other(in_a_loop: bool) -> None:
    async def fail() -> None:
        await asyncio.wait_for(asyncio.Event().wait(), 0)

    async def inside() -> tuple[StepStatus, StepError | None]:
        return execute()

    def execute() -> tuple[StepStatus, StepError | None]:
        outcome = PythonAdapter("keys", {"m": fail}).execute(call(), dry_run=False)
        return outcome.status, outcome.error_code

    ended = asyncio.run(inside()) if in_a_loop else execute()
    assert ended == ("unknown", StepError.TIMED_OUT)


def test_a_step_in_a_thread_of_its_own_leaves_no_thread_behind() -> None:
    before = threading.active_count()

    async def inside() -> None:
        adapter = PythonAdapter("keys", {"m": rotate_in_a_loop})
        for _ in range(100):
            adapter.execute(call(service="a"), dry_run=False)
            assert threading.active_count() == before

    asyncio.run(inside())


def one_by_one() -> Iterator[int]:
    yield 1


async def one_by_one_in_a_loop() -> AsyncIterator[int]:
    yield 1


def forgotten() -> Awaitable[object]:
    return rotate_in_a_loop("a")


async def forgotten_twice() -> Awaitable[object]:
    return rotate_in_a_loop("a")


def done_before(function: Callable[[], Iterator[int]]) -> Callable[[], Iterator[int]]:
    @functools.wraps(function)
    def wrapper() -> Iterator[int]:
        begun = function()
        next(begun)  # the work is done by now
        return begun

    return wrapper


@contextmanager
def within() -> Generator[None]:
    yield


@asynccontextmanager
async def within_a_loop() -> AsyncGenerator[None]:
    yield


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("function", "untouched"),
    [
        (one_by_one, True),
        (one_by_one_in_a_loop, True),
        (done_before(one_by_one), False),
        (forgotten, False),
        (forgotten_twice, False),
        (within, False),
        (within_a_loop, False),
        (lambda: map(str, [1]), False),
        (lambda: functools.partial(rotate_in_a_loop, "a"), False),
        (lambda: rotate_in_a_loop, False),
        (lambda: threading.Thread(target=print), False),
        (lambda: Future[object](), False),
    ],
    ids=range(12),
)
def test_what_nobody_has_run_is_a_failed_step(function: Callable[[], object], untouched: bool) -> None:
    outcome = PythonAdapter("keys", {"m": function}).execute(call(), dry_run=False)
    assert (outcome.status, outcome.error_code, outcome.output) == ("error", StepError.STEP_FAILED, {})
    assert "was not run" in (outcome.error_message or "")
    assert outcome.untouched == untouched


def test_an_exception_that_is_registered_as_harmless_says_that_nothing_was_done() -> None:
    class RefusedError(Exception):
        pass

    class TooMuchError(RefusedError):
        pass

    def refund(much: bool) -> None:
        raise (TooMuchError if much else ValueError)

    adapter = PythonAdapter("billing", {"m": refund}, harmless=[RefusedError])
    refused = adapter.execute(call(much=True), dry_run=False)
    assert (refused.status, refused.error_code, refused.untouched) == ("error", StepError.STEP_FAILED, True)
    assert not adapter.execute(call(much=False), dry_run=False).untouched


def test_only_exception_types_are_harmless() -> None:
    with pytest.raises(NexusControlError) as refused:
        PythonAdapter("keys", {}, harmless=[KeyboardInterrupt])  # pyright: ignore[reportArgumentType]
    assert refused.value.code is ErrorCode.CONFIG_INVALID
