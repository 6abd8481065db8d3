"""The items as a task of inspect-ai; runs in its venv."""

import os

from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.scorer import exact
from inspect_ai.solver import generate


@task
def items() -> Task:
    """One question, one generation, exact match."""
    fields = FieldSpec(input="question", target="answer", id="id")
    return Task(dataset=json_dataset(os.environ["BENCH_ITEMS"], fields), solver=generate(), scorer=exact())
