"""The benchmark's own container, running: what the engine applied, and what left it."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import docker
import pytest

from dep_mcp.client import OperatorClient, connect, line_transport
from dep_mcp.containers import REQUIREMENTS, Container, ContainerSpec, DockerRuntime, Requirement
from dep_mcp.orchestrator import Catalogue, find_data
from dep_mcp.orchestrator.catalogue import build_spec
from dep_mcp.protocol import Open, Submission, TextAnswer, new_evaluation_id, new_seed
from dep_mcp.protocol.errors import DepError
from dep_mcp.testing import toy_folder

pytestmark = pytest.mark.docker


class Tapped:
    """Keeps every byte that leaves a container."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.left: list[bytes] = []

    async def lines(self) -> AsyncIterator[bytes]:
        async for line in self._container.lines():
            self.left.append(line)
            yield line

    async def write(self, data: bytes) -> None:
        await self._container.write(data)


async def toy_image(runtime: DockerRuntime) -> str:
    folder, _ = Catalogue([toy_folder().parents[1]]).resolve("toy")
    spec = build_spec(folder, find_data(folder, []), await runtime.base_image())
    return (await runtime.ensure_image(spec)).digest


async def whole_session(operator: OperatorClient) -> None:
    """Everything a client can do, right and wrong."""
    evaluation_id = new_evaluation_id()
    subject = operator.subject(evaluation_id)
    with pytest.raises(DepError):
        await subject.get_items()
    await operator.open(Open(evaluation_id=evaluation_id, seed=new_seed(), epochs=2))
    cursor: str | None = None
    items = []
    while True:
        page = await subject.get_items(cursor)
        items += page.items
        if (cursor := page.next_cursor) is None:
            break
    for wrong in ("not a cursor", "999999"):
        with pytest.raises(DepError):
            await subject.get_items(wrong)
    for epoch in (1, 2):
        for start in range(0, len(items), 100):
            batch = tuple(
                Submission(item_id=item.item_id, epoch=epoch, answer=TextAnswer(text=f"guess {epoch}"))
                for item in items[start : start + 100]
            )
            await subject.submit(batch)
    late = Submission(item_id=items[0].item_id, answer=TextAnswer(text="another"))
    assert (await subject.submit((late,))).rejected
    result = await subject.score()
    while result.next_cursor is not None:
        result = await subject.score(result.next_cursor)
    assert (await subject.submit((Submission(item_id="none", answer=TextAnswer(text="")),))).rejected


async def test_no_target_is_in_anything_that_left_the_container() -> None:
    """Every byte of standard output and error of a whole session, searched for the planted targets."""
    async with DockerRuntime() as runtime:
        image = await toy_image(runtime)
        async with runtime.start(ContainerSpec(image=image, labels={})) as container:
            tapped = Tapped(container)
            async with connect(line_transport(tapped)) as operator:
                await whole_session(operator)
            said = b"\n".join(tapped.left) + container.stderr_tail().encode()
    assert b"toy-299" in said
    assert b"target-" not in said


@pytest.fixture(scope="module")
def inspection() -> Any:
    """`docker inspect` of the benchmark's container while it serves."""
    import asyncio

    async def inspect() -> Any:
        async with DockerRuntime() as runtime:
            image = await toy_image(runtime)
            async with (
                runtime.start(ContainerSpec(image=image, labels={"org.dep-mcp.benchmark": "toy"})) as container,
                connect(line_transport(container)) as operator,
            ):
                await operator.open(Open(evaluation_id=new_evaluation_id(), seed=new_seed(), limit=1))
                with docker.APIClient() as client:
                    return client.inspect_container(container.id)

    return asyncio.run(inspect())


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name.replace(" ", "-"))
def test_every_line_of_the_seal_is_applied(inspection: Any, requirement: Requirement) -> None:
    """Read from the running container, not from what was asked for."""
    spec = ContainerSpec(image=inspection["Image"], labels={})
    assert requirement.holds(requirement.got(inspection), requirement.want(spec))


def test_the_flags_that_matter_most_by_their_engine_names(inspection: Any) -> None:
    """Spelled out once without our own table, so that an error in the table can't hide."""
    host, config = inspection["HostConfig"], inspection["Config"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert any(option.startswith("seccomp=") for option in host["SecurityOpt"])
    assert host["LogConfig"]["Type"] == "none"
    assert host["IpcMode"] == "none"
    assert (host["Memory"], host["MemorySwap"]) == (256 << 20, 256 << 20)
    assert host["PidsLimit"] == 64
    assert host["NanoCpus"] == 10**9
    assert not host["Binds"]
    assert not inspection["Mounts"]
    assert config["User"] == "65532:65532"
    assert (config["OpenStdin"], config["StdinOnce"], config["Tty"]) == (True, True, False)
    assert config["Labels"]["org.dep-mcp.orchestrator"]
    names = {value.partition("=")[0] for value in config["Env"]}
    assert not [name for name in names if "KEY" in name or ("SEED" in name and name != "PYTHONHASHSEED")]


def test_images_hold_neither_tests_nor_host_rooms() -> None:
    """A sealed image holds the sealed rooms only: nothing in it could call a model or an engine."""
    folder, _ = Catalogue([toy_folder().parents[1]]).resolve("toy")
    spec = build_spec(folder, {}, "base")
    rooms = {path.split("/")[1] for path in spec.files if path.startswith("dep_mcp/")}
    assert rooms == {"__init__.py", "protocol", "metrics", "receipts", "scoring", "server"}
    assert json.dumps(sorted(spec.files)).count("tests/") == 0


@pytest.mark.parametrize("task", ["isomorphic_strings", "word_ladder", "list_functions"])
async def test_a_replaced_container_generates_the_same_items(task: str) -> None:
    """These generators iterate over sets: without a fixed hash seed, each process would give other items."""
    opening = Open(evaluation_id=new_evaluation_id(), seed="5eed" * 8, task=task, limit=20)
    folder, _ = Catalogue([]).resolve("reasoning_gym")
    digests = set()
    async with DockerRuntime() as runtime:
        image = await runtime.ensure_image(build_spec(folder, {}, await runtime.base_image()))
        for _ in range(2):
            spec = ContainerSpec(image=image.digest, labels={}, memory_mb=folder.card.resources.memory_mb)
            async with runtime.start(spec) as container, connect(line_transport(container)) as operator:
                digests.add((await operator.open(opening)).items_digest)
    assert len(digests) == 1


EXPLOITS = (
    "[setattr(__import__('dep_mcp.server.guard',fromlist=['x']),'float',lambda v:1.0)]",
    "[__import__('os').kill(__import__('os').getppid(),9)]",
    "[open('/proc/'+str(__import__('os').getppid())+'/fd/1','w').write('x')]",
    "exec(chr(112)+chr(97))",
    "().__class__.__base__.__subclasses__()",
    "x.__class__",
    "<answer>eval(chr(49))</answer>",
)


@pytest.mark.parametrize("task", ["spiral_matrix", "binary_matrix", "countdown", "puzzle24", "simple_integration"])
async def test_what_a_model_wrote_is_never_run(task: str) -> None:
    """Some verifiers evaluate their answer as Python: a text could give itself full marks, or end the server."""
    folder, _ = Catalogue([]).resolve("reasoning_gym")
    evaluation_id = new_evaluation_id()
    async with DockerRuntime() as runtime:
        image = await runtime.ensure_image(build_spec(folder, {}, await runtime.base_image()))
        spec = ContainerSpec(image=image.digest, labels={}, memory_mb=folder.card.resources.memory_mb)
        async with runtime.start(spec) as container, connect(line_transport(container)) as operator:
            opening = Open(evaluation_id=evaluation_id, seed="5eed" * 8, task=task, limit=14)
            await operator.open(opening)
            subject = operator.subject(evaluation_id)
            items = (await subject.get_items()).items
            texts = (*EXPLOITS, *("I do not know",) * (len(items) - len(EXPLOITS)))
            await subject.submit(
                tuple(
                    Submission(item_id=item.item_id, answer=TextAnswer(text=text))
                    for item, text in zip(items, texts, strict=True)
                )
            )
            report = (await subject.score()).report
    assert report is not None
    assert report.ranked == 0.0
    assert report.counts.scored == 14


LOOKS_ROUND = b'''"""Says where it was when its items were indexed."""
import os, socket

from dep_mcp.scoring import ExactMatch
from dep_mcp.server import Benchmark, SealedItem


class Looking(Benchmark):
    scorer = ExactMatch()

    def items(self, draw):
        yield SealedItem("here", f"{os.getuid()} {sorted(os.listdir('/sys/class/net'))}", "t")
'''


async def test_an_author_s_code_has_neither_network_nor_root_while_its_image_is_built() -> None:
    """It sees the targets then, and could send them out."""
    folder, _ = Catalogue([toy_folder().parents[1]]).resolve("toy")
    async with DockerRuntime() as runtime:
        spec = build_spec(folder, {}, await runtime.base_image())
        looking = replace(spec, name="benchmark-looking", files={**spec.files, "benchmark/benchmark.py": LOOKS_ROUND})
        image = await runtime.ensure_image(looking)
        async with (
            runtime.start(ContainerSpec(image=image.digest, labels={})) as container,
            connect(line_transport(container)) as operator,
        ):
            evaluation_id = new_evaluation_id()
            await operator.open(Open(evaluation_id=evaluation_id, seed=new_seed()))
            (item,) = (await operator.subject(evaluation_id).get_items()).items
    assert item.messages[0].content == "65532 ['lo']"
