"""How each peer is installed and told to run the same items; the other modules here run in the peers' own venvs."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a peer is to run.

    Attributes:
        venv: The peer's.
        folder: Empty, for whatever it writes.
        items: JSONL with `id`, `question`, `answer`.
        api_base: The provider's.
        width: Calls in flight.
    """

    venv: Path
    folder: Path
    items: Path
    api_base: str
    width: int


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A peer.

    Attributes:
        package: Its distribution.
        pins: What pip is asked for.
        command: Makes its command line, and prepares its folder.
        accuracy: Pattern of what it says of the score.
        tell: Makes the command that says it, where the run itself doesn't.
        sizes: Items of the small and the large run.
        width: Calls in flight.
        python: The least version of Python that it needs.
    """

    package: str
    pins: Sequence[str]
    command: Callable[[Job], list[str | Path]]
    accuracy: str
    tell: Callable[[Job], list[str | Path]] | None = None
    sizes: tuple[int, int] = (1000, 3000)
    width: int = 100
    python: tuple[int, int] = (3, 11)


def environment(job: Job) -> Mapping[str, str]:
    """What all of them see: the items, the endpoint, and no way out."""
    return {
        "BENCH_ITEMS": str(job.items), "BENCH_API_BASE": job.api_base, "OPENAI_API_KEY": "none",
        "FAULTY_API_KEY": "none", "FAULTY_BASE_URL": job.api_base, "HOME": str(job.folder),
        "HF_HOME": str(job.folder), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
        "MEP_SERVER_DIR": str(job.folder / "benchmarks"), "MEP_LLM_DIR": str(job.folder / "models"),
    }  # fmt: skip


def _inspect(job: Job) -> list[str | Path]:
    shutil.copy(HERE / "inspect_items.py", job.folder)  # it takes no absolute path
    return [
        job.venv / "bin/inspect", "eval", "inspect_items.py", "--model", "openai-api/faulty/faulty",
        "--max-connections", str(job.width), "--temperature", "0", "--max-tokens", "16", "--display", "none",
        "--log-dir", job.folder / "logs",
    ]  # fmt: skip


def _inspect_log(job: Job) -> list[str | Path]:
    return [job.venv / "bin/inspect", "log", "dump", "--header-only", *(job.folder / "logs").glob("*.eval")]


def _lm_eval(job: Job) -> list[str | Path]:
    task = {
        "task": "bench_items", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(job.items)}},
        "test_split": "test", "output_type": "generate_until", "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}", "num_fewshot": 0,
        "generation_kwargs": {"until": [], "do_sample": False, "temperature": 0.0, "max_gen_toks": 16},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    (job.folder / "task.yaml").write_text(json.dumps(task), encoding="utf-8")  # JSON is YAML
    model = f"model=faulty,base_url={job.api_base}/chat/completions,num_concurrent={job.width},tokenizer_backend=none"
    return [
        job.venv / "bin/lm_eval", "run", "--model", "local-chat-completions", "--model_args", model,
        "--tasks", "bench_items", "--include_path", job.folder, "--apply_chat_template", "--log_samples",
        "--output_path", job.folder / "out",
    ]  # fmt: skip


def _llmdep(job: Job) -> list[str | Path]:
    for record in job.venv.glob("lib/*/site-packages/mep_client/log"):
        shutil.rmtree(record)  # of earlier runs, which it would rewrite at every item
    methods, model = job.folder / "benchmarks/items/methods", job.folder / "models/faulty"
    for folder, files in (
        (methods, {"prepare": "prepare_ques", "evaluate": "eval_script"}),
        (model, {"model": "model"}),
    ):
        folder.mkdir(parents=True)
        for ours, theirs in files.items():
            shutil.copy(HERE / f"llmdep_{ours}.py", folder / f"{theirs}.py")
    return [
        job.venv / "bin/llmdep", "gen_eval", "-b", "items", "-m", "faulty", "--foreground", "--evaluate",
        "--worker_nums", str(job.width), "--batch_size", str(job.width), "--rate_limit", "1e9",
        "--bucket_capacity", "1e9",
    ]  # fmt: skip


def _nemo(job: Job) -> list[str | Path]:
    # The limit of its proxy counts only if the proxy is needed for something else, such as a header.
    proxy = {"max_concurrent_upstream": job.width, "extra_headers": {"x-bench": "1"}}
    url = f"{job.api_base}/chat/completions"
    service: dict[str, Any] = {
        "type": "api", "url": url, "protocol": "chat_completions", "model": "faulty", "proxy": proxy, "api_key": "none",
        "generation": {"temperature": 0.0, "max_tokens": 16},
    }  # fmt: skip
    benchmark = {
        "name": str(HERE / "nemo_items.py"), "solver": {"type": "simple", "service": "faulty"},
        "max_concurrent": job.width,
    }  # fmt: skip
    config = {"services": {"faulty": service}, "benchmarks": [benchmark], "output": {"dir": str(job.folder / "out")}}
    (job.folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    return [job.venv / "bin/nel", "eval", "run", job.folder / "config.yaml"]


PEERS = {
    "inspect": Peer(
        package="inspect-ai",
        pins=("inspect-ai==0.3.285", "openai==3.54.0"),
        command=_inspect,
        accuracy=r'"mean": {[^}]*"value": ([0-9.]+)',
        tell=_inspect_log,
        sizes=(300, 1000),
        width=10,
    ),
    "lmeval": Peer(
        package="lm-eval",
        pins=("lm-eval[api]==0.4.13",),
        command=_lm_eval,
        accuracy=r"\|exact_match\|[^|]*\| *([0-9.]+)\|",
    ),
    "llmdep": Peer(package="llmdep", pins=("llmdep==0.2.0",), command=_llmdep, accuracy=r'"accuracy": ([0-9.]+)'),
    "nemo": Peer(
        package="nemo-evaluator",
        pins=("nemo-evaluator==0.3.0",),
        command=_nemo,
        accuracy=r"pass@1=([0-9.]+)",
        python=(3, 12),
    ),
}
"""By the names of their venvs. inspect is too slow for the sizes and the width of the others."""
