"""The items as a benchmark of nemo-evaluator; runs in its venv."""

import os
from typing import Any

from nemo_evaluator.environments.custom import benchmark, scorer
from nemo_evaluator.scoring import ScorerInput, exact_match


@benchmark(name="bench_items", dataset=os.environ["BENCH_ITEMS"], prompt="{question}", target_field="answer")
@scorer
def items(sample: ScorerInput) -> dict[str, Any]:
    """Exact match."""
    return dict(exact_match(sample))
