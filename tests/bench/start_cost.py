"""How long it takes until something answers: importing the package, the command line's version and help, the server's
first list of tools, and one status.

Each is the best of several rounds, on a machine that does nothing else. The list is beside that of an empty server of
the same library. What `--version` and `--help` cost is a ratio, to a process that imports typer and does nothing else.

    python -m tests.bench.start_cost [--rounds N]
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from mcp import Client, StdioServerParameters

from tests.mcp.serving import an_empty_server, client, data, parameters
from tests.support.places import REPOSITORY

STATUSES = 30


def import_seconds() -> float:
    """Of the package alone, in a new interpreter."""
    probe = "import time; t = time.perf_counter(); import nexus_control; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", probe]
    return float(subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout)


def times_typer(option: str, rounds: range) -> float:
    """How often a process that imports typer alone could be run while the command line answers to `option`."""

    def seconds(*arguments: str) -> float:
        started = perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, check=True)
        return perf_counter() - started

    pairs = [(seconds("-m", "nexus_control", option), seconds("-c", "import typer")) for _ in rounds]
    return median(ours for ours, _ in pairs) / median(bare for _, bare in pairs)


async def first_list_seconds(server: StdioServerParameters) -> float:
    """From the start of the process to the answer."""
    started = perf_counter()
    async with Client(server) as agent:
        await agent.list_tools()
        return perf_counter() - started


async def status_seconds(folder: Path) -> float:
    """The median of many calls."""
    async with client(folder=folder) as agent:
        request_id = (await data(agent, "request", goal="g"))["request_id"]
        spans: list[float] = []
        for _ in range(STATUSES):
            started = perf_counter()
            await data(agent, "status", request_id=request_id)
            spans.append(perf_counter() - started)
        return median(spans)


def main() -> None:
    """Measure each and print a table."""
    parser = argparse.ArgumentParser(description="How long it takes until something answers.")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = range(parser.parse_args().rounds)
    with tempfile.TemporaryDirectory(prefix="start-cost-") as folder:
        ours = parameters(folder=Path(folder))
        asyncio.run(first_list_seconds(ours))  # makes the database
        beside = min(asyncio.run(first_list_seconds(an_empty_server())) for _ in rounds)
        figures = {
            "import (at most 30 ms)": min(import_seconds() for _ in rounds),
            "first list, beside an empty server's (at most 400 ms)": min(
                asyncio.run(first_list_seconds(ours)) for _ in rounds
            )
            - beside,
            "status (at most 15 ms)": min(asyncio.run(status_seconds(Path(folder))) for _ in rounds),
        }
        ratios = {
            f"{option}, beside importing typer (at most 1.3)": times_typer(option, rounds)
            for option in ("--version", "--help")
        }
    for what, seconds in figures.items():
        print(f"{what:56}{seconds * 1000:8.1f} ms")
    for what, ratio in ratios.items():
        print(f"{what:56}{ratio:8.2f}")


if __name__ == "__main__":
    main()
