"""Exact match for llmdep, which finds this as `methods/eval_script.py`."""

import json
import os
from pathlib import Path
from typing import Any


def evaluate(model_name: str, run_tag: str) -> dict[str, Any]:
    """Accuracy over the answers that the run left."""
    lines = Path(os.environ["BENCH_ITEMS"]).read_text(encoding="utf-8").splitlines()
    targets = {str(row["id"]): row["answer"] for row in map(json.loads, lines)}
    answers = Path(__file__).parents[1] / "cache" / model_name / run_tag / "items.jsonl"
    rows = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    right = sum(row["ans"] == targets[row["id"]] for row in rows)
    return {"overall_performance": {"accuracy": right / len(targets)}}
