"""`python -m bench [PART …]`: measures, prints tables, and appends them to one file of `bench/results/`."""

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.process import CommandError
from bench.report import RESULTS, Options, header

PARTS = ("startup", "sealed", "throughput", "litellm", "peers", "limits", "scale", "policy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts one after the other; a part that fails is reported, and the others still run."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").split(": ")[1])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default all")
    parser.add_argument("--rounds", type=int, default=5, help="of everything interleaved (default 5)")
    parser.add_argument("--seed", type=int, default=1, help="of the limits that are drawn (default 1)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes, to try the instrument")
    parser.add_argument("--only", default="", help="scenarios of limits, or peers, separated by commas")
    parser.add_argument("--out", type=Path, help="append to this file instead of a new one")
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}")
    only = tuple(name for name in given.only.split(",") if name)
    options = Options(rounds=given.rounds, seed=given.seed, quick=given.quick, only=only)
    out = given.out or RESULTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    failed = [part for part in given.parts or PARTS if not _measured(part, options, out)]
    sys.stderr.write(f"written to {out}\n")
    return 1 if failed else 0


def _measured(part: str, options: Options, out: Path) -> bool:
    """Whether the part could be measured."""
    measure = getattr(importlib.import_module(f"bench.parts.{part}"), part)
    text, done = header(part, options), True
    try:
        tables = asyncio.run(measure(options))
        text += "\n" + "\n".join(table.markdown() for table in tables)
    except CommandError as error:
        text, done = f"{text}\nFAILED: {error}\n", False
    text += f"\nload at the end: {os.getloadavg()[0]:.1f}\n"
    print(text, flush=True)  # noqa: T201 (what it is for)
    with out.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    return done


sys.exit(main())
