"""The base of NexusControlTools: each method checks its arguments against a model, and runs one use case.

A method hands over its `locals()`, and the model takes the names of its fields: so a parameter is written once, in the
signature. The arguments of a list check themselves. A test compares each method's parameters with the fields of its
model. The use cases are loaded by the calls: see `nexus_control.usecases`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar

from nexus_control import usecases
from nexus_control.errors import invalid_argument
from nexus_control.execution.router import PlanChecker
from nexus_control.storage.contract import BUSY_SECONDS
from nexus_control.store import DecisionStore, TemplateStore
from nexus_control.system.clock import SYSTEM_CLOCK, Clock
from nexus_control.values.actors import Actor
from nexus_control.values.results import ToolResult, result_of

if TYPE_CHECKING:
    from nexus_control.usecases.arguments import Arguments

ActorLike: TypeAlias = Actor | Mapping[str, str]
"""An `Actor`, or its plain mapping `{"type": "human", "id": "alice"}`."""

ArgumentsT = TypeVar("ArgumentsT", bound="Arguments")
T = TypeVar("T")


class Tools:
    """An open store, and how a method runs on it."""

    def __init__(
        self,
        store: DecisionStore | str | os.PathLike[str] | None = None,
        db_path: str | os.PathLike[str] = ":memory:",
        *,
        allowed_signers: str | os.PathLike[str] | None = None,
        passkey_origins: Sequence[str] | None = None,
        plan_checker: PlanChecker | None = None,
        clock: Clock | None = None,
        busy_timeout: float | None = None,
        log_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        if store is not None and db_path != ":memory:":
            raise invalid_argument("db_path", "and store are the same argument: give one of them")
        self._opened_here = not isinstance(store, DecisionStore)
        if isinstance(store, DecisionStore):
            given = {
                "allowed_signers": allowed_signers,
                "passkey_origins": passkey_origins,
                "clock": clock,
                "busy_timeout": busy_timeout,
                "log_folder": log_folder,
            }
            for name, value in given.items():
                if value is not None:
                    raise invalid_argument(name, "belongs to the store: give it to DecisionStore")
            self.store = store
        else:
            self.store = DecisionStore(
                db_path if store is None else store,
                clock=clock or SYSTEM_CLOCK,
                allowed_signers=allowed_signers,
                passkey_origins=passkey_origins or (),
                busy_timeout=BUSY_SECONDS if busy_timeout is None else busy_timeout,
                log_folder=log_folder,
            )
        self.template_store = TemplateStore(self.store)
        self._plan_checker = plan_checker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store, if the tools opened it. A store that was handed in stays open. Raises STORE_IN_USE."""
        if self._opened_here:
            self.store.close()

    def _run(
        self,
        use_case: Callable[[DecisionStore, ArgumentsT], T],
        model: type[ArgumentsT],
        given: Mapping[str, object],
    ) -> ToolResult[T]:
        """Check the arguments against `model`, and run the use case."""
        return result_of(lambda: use_case(self.store, checked(model, given)))


def checked(model: type[ArgumentsT], given: Mapping[str, object]) -> ArgumentsT:
    """The values that are fields of the model, checked by it. Raises INVALID_ARGUMENT."""
    return usecases.arguments.validated(
        model, {name: given[name] for name in model.__pydantic_fields__ if name in given}
    )
