"""Published model outputs through the whole of it: the official scores, to the last digit."""

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.data]

OFFICIAL = {"6b_finetuning": 286, "6b_verification": 515, "175b_finetuning": 458, "175b_verification": 742}


def test_gsm8k_gives_the_official_scores_of_four_models(cli: Any, published: Path, tmp_path: Path) -> None:
    """1,319 real items through the container, and each item's verdict as the authors published it."""
    lines = (published / "oracles/gsm8k/example_model_solutions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    models = []
    for name in OFFICIAL:
        path = tmp_path / f"{name}.jsonl"
        answers = [{"item_id": f"test-{number}", "answer": row[name]["solution"]} for number, row in enumerate(rows)]
        path.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
        models.append(f"replay:{path}")
    documents = cli.documents("run", "-b", "gsm8k", "--data", published / "data/gsm8k", "-m", ",".join(models))
    right = {
        Path(document["evaluation"]["settings"]["model"]["model"]).stem: document["report"]["ranked"] * len(rows)
        for document in documents
    }
    assert {name: pytest.approx(count) for name, count in OFFICIAL.items()} == right
    assert {document["report"]["overall"]["n"] for document in documents} == {1319}


def test_every_verdict_of_gsm8k_is_the_authors(published: Path) -> None:
    """5,276 verdicts, one by one: a right total could hide errors that cancel out."""
    from dep_mcp.protocol import TextAnswer
    from dep_mcp.server.loading import load_benchmark

    root = Path(__file__).parents[2]
    scorer = load_benchmark(root / "benchmark_servers" / "gsm8k").scorer
    lines = (published / "oracles/gsm8k/example_model_solutions.jsonl").read_text(encoding="utf-8").splitlines()
    data = (published / "data/gsm8k/test.jsonl").read_text(encoding="utf-8").splitlines()
    differing = 0
    for line, item in zip(lines, data, strict=True):
        row, target = json.loads(line), json.loads(item)["answer"].split("####")[1]
        for name in OFFICIAL:
            verdict = scorer.score(TextAnswer(text=row[name]["solution"]), target)
            differing += bool(verdict) != row[name]["is_correct"]
    assert differing == 0


def test_data_that_isnt_the_pinned_file_is_refused(cli: Any, published: Path, tmp_path: Path) -> None:
    """Another file, under the same name, would give another benchmark under the same name."""
    other = tmp_path / "test.jsonl"
    other.write_bytes((published / "data/gsm8k/test.jsonl").read_bytes() + b"\n")
    ended = cli("run", "-b", "gsm8k", "--data", other, "-m", "replay:none.jsonl")
    assert ended.returncode == 2
    assert "SHA-256" in ended.stderr
