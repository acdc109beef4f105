"""Executes decisions: the protocol of routers, the embedded router, its adapters and their configuration."""
