"""Executes decisions: the protocol of routers, the embedded router, its adapters and their configuration."""

from nexus_control.execution.context import CurrentExecution, current

__all__ = ["CurrentExecution", "current"]
