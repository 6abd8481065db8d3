"""The instrument of other tests: what it does must be repeatable, and what it counts must be true."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError

from dep_mcp.testing import FaultyProvider, faulty_provider, prompt_sha


async def ask(provider: FaultyProvider, text: str, *, timeout_s: float = 5) -> tuple[str, Any]:
    """The status and the body of one chat call; `cut` where there was no whole reply, `hang` where there was none."""
    body = {"model": "faulty", "messages": [{"role": "user", "content": text}]}
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{provider.api_base}/chat/completions", json=body) as reply,
        ):
            return str(reply.status), await reply.json(content_type=None)
    except TimeoutError:
        return "hang", None
    except (aiohttp.ClientError, ValueError):
        return "cut", None


async def test_the_same_requests_meet_the_same_faults_in_any_order() -> None:
    """Or a failing run couldn't be looked at again."""
    behaviour = {"faults": {"500": 0.3, "429": 0.3, "cut": 0.1}, "seed": 5}
    texts = [str(number) for number in range(40)]
    async with faulty_provider(**behaviour) as provider:
        first = {text: (await ask(provider, text))[0] for text in texts}
    async with faulty_provider(**behaviour) as provider:
        replies = await asyncio.gather(*(ask(provider, text) for text in reversed(texts)))
    backwards = {text: status for text, (status, _) in zip(reversed(texts), replies, strict=True)}
    assert first == backwards
    assert {"200", "500", "429", "cut"} == set(first.values())
    async with faulty_provider(**behaviour | {"seed": 6}) as provider:
        assert first != {text: (await ask(provider, text))[0] for text in texts}


async def test_every_attempt_is_drawn_anew_until_the_body_recovers() -> None:
    """A retry is worth its while, and a run can be made to end for certain."""
    async with faulty_provider(faults={"503": 1.0}, recover_after=2) as provider:
        assert [(await ask(provider, "x"))[0] for _ in range(3)] == ["503", "503", "200"]


async def test_faults_can_be_kept_to_some_requests() -> None:
    """So that an item can be broken for good while the others are answered."""
    async with faulty_provider(faults={"503": 1.0}, faults_in=("bad", "worse")) as provider:
        assert [(await ask(provider, text))[0] for text in ("a bad one", "good", "worse")] == ["503", "200", "503"]


async def test_counters_tell_a_second_request_from_a_second_answer() -> None:
    """An answer paid twice is what resume tests look for."""
    async with faulty_provider(recover_after=1, faults={"500": 1.0}) as provider:
        for text in ("a", "a", "a", "b"):
            await ask(provider, text)
        counters = await provider.counters()
    expected = {"requests": 4, "unique": 2, "sent_twice": 1, "answered": 1, "answered_twice": 1, "in_flight": 0}
    assert {name: counters[name] for name in expected} == expected
    assert counters["statuses"] == {"500": 2, "200": 2}
    assert counters["first_at"] <= counters["last_at"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("hang", "hang"),
        ("cut", "cut"),
        ("cut_body", "cut"),
        ("truncated", "cut"),
        ("html", "cut"),
        ("slow_body", "200"),
    ],
)
async def test_each_broken_reply_breaks_in_its_own_way(fault: str, status: str) -> None:
    """And none of them counts as an answer but the slow one."""
    async with faulty_provider(faults={fault: 1.0}, slow_body_s=0.2) as provider:
        assert (await ask(provider, "x", timeout_s=1))[0] == status
        assert (await provider.counters())["answered"] == (status == "200")


async def test_answers_are_looked_up_then_constant_then_an_echo(tmp_path: Path) -> None:
    """Oracles answer by prompt; all else needs no file."""
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({prompt_sha(["known"]): "looked up"}))
    async with faulty_provider(answers=path) as provider:
        texts = [(await ask(provider, text))[1]["choices"][0]["message"]["content"] for text in ("known", "other")]
        await provider.behave(answer="42")
        texts.append((await ask(provider, "other"))[1]["choices"][0]["message"]["content"])
    assert texts == ["looked up", "other", "42"]


async def test_a_reply_written_by_hand_says_what_json_would() -> None:
    """It is the one that everything is measured with; quotes, control characters and emoji must survive."""
    text = 'a "b"\n\x00\\ \u2028 \U0001f600 \ud800'
    async with faulty_provider() as provider:
        _, plain = await ask(provider, text)
        await provider.behave(faults={"content_filter": 1.0})
        _, dumped = await ask(provider, text)
    assert plain["choices"][0]["message"]["content"] == text
    dumped["choices"][0]["finish_reason"] = "stop"
    assert plain == dumped


async def test_a_wrong_usage_comes_with_a_right_answer() -> None:
    """It was charged, so it counts; below zero, beyond reason, and text all occur."""
    async with faulty_provider(faults={"wrong_usage": 1.0}) as provider:
        replies = await asyncio.gather(*(ask(provider, str(n)) for n in range(40)))
        assert (await provider.counters())["answered"] == 40
    assert all(body["choices"][0]["message"]["content"] == str(n) for n, (_, body) in enumerate(replies))
    assert {body["usage"]["prompt_tokens"] for _, body in replies} == {-7, 10**18, "7", None}


async def test_a_reply_that_waits_does_not_hold_up_a_quicker_one() -> None:
    """All waits share a timer, which must be set anew for an earlier one."""
    async with faulty_provider(latency_s=5.0) as provider:
        slow = asyncio.create_task(ask(provider, "slow"))
        while not (await provider.counters())["in_flight"]:
            await asyncio.sleep(0.01)
        await provider.behave(latency_s=0.05)
        assert (await ask(provider, "quick", timeout_s=3))[0] == "200"
        assert not slow.done()
        slow.cancel()
        assert (await provider.counters())["cpu_s"] > 0


async def test_answers_are_counted_by_what_their_requests_hold() -> None:
    """Who got how much of a shared limit can't be seen otherwise."""
    async with faulty_provider(count_by=["[a]", "[b]"]) as provider:
        for text in ("[a] 1", "[a] 2", "[b] 1", "neither"):
            await ask(provider, text)
        assert (await provider.counters())["by"] == {"[a]": 2, "[b]": 1}


async def test_the_bucket_and_the_cap_refuse_with_429() -> None:
    """What a real provider's limits look like."""
    async with faulty_provider(rate_per_s=0.001, burst=3) as provider:
        assert [(await ask(provider, str(n)))[0] for n in range(5)] == ["200"] * 3 + ["429"] * 2
    async with faulty_provider(max_in_flight=4, latency_s=0.5) as provider:
        statuses = [status for status, _ in await asyncio.gather(*(ask(provider, str(n)) for n in range(10)))]
        counters = await provider.counters()
    assert sorted(statuses) == ["200"] * 4 + ["429"] * 6
    assert counters["max_in_flight"] >= 4


async def test_a_lognormal_latency_is_drawn_by_request() -> None:
    """Slow ones are slow again."""
    async with faulty_provider(latency_s=0.05, latency_sigma=1.0) as provider:
        taken = []
        for _ in range(2):
            begin = asyncio.get_running_loop().time()
            await asyncio.gather(*(ask(provider, str(n)) for n in range(20)))
            taken.append(asyncio.get_running_loop().time() - begin)
    assert all(time_s > 0.05 for time_s in taken)


async def test_a_behaviour_that_is_none_is_refused() -> None:
    """At the start and while it runs; a misspelt fault would test nothing."""
    with pytest.raises(ValidationError):
        async with faulty_provider(faults={"sulk": 1.0}):
            pass
    async with faulty_provider() as provider:
        with pytest.raises(ValueError, match="add up"):
            await provider.behave(faults={"500": 0.7, "429": 0.7})
        assert (await ask(provider, "x"))[0] == "200"


def test_it_dies_with_the_process_that_started_it() -> None:
    """Even by `kill -9`: a test run that was killed leaves nothing behind."""
    script = (
        "import asyncio, os\n"
        "from dep_mcp.testing import faulty_provider\n"
        "async def main():\n"
        "    async with faulty_provider() as provider:\n"
        "        print(provider.port, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
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


def test_it_runs_without_a_standard_input() -> None:
    """As in the background of a shell; a signal ends it then."""
    command = [sys.executable, "-m", "dep_mcp.testing", "--behaviour", '{"answer": "1"}']
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["port"] > 0
        process.terminate()
        assert process.wait(10) == 0
