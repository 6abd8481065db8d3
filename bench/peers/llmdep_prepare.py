"""The items for llmdep, which finds this as `methods/prepare_ques.py`."""

import json
import os
from pathlib import Path
from typing import Any


def prepare_question_list() -> dict[str, dict[str, list[Any]]]:
    """Questions and ids of the one sub-task."""
    lines = Path(os.environ["BENCH_ITEMS"]).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {"items": {"queries": [row["question"] for row in rows], "ids": [row["id"] for row in rows]}}
