"""Benchmarks whose items and targets are encrypted at rest: made, given away, run, and refused without the key."""

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import docker
import pytest

from dep_mcp.client import OperatorClient, connect, line_transport
from dep_mcp.containers import Container, ContainerSpec, DockerRuntime
from dep_mcp.orchestrator import Catalogue, OwnerKeys, find_data, seal
from dep_mcp.orchestrator.catalogue import build_spec
from dep_mcp.protocol import Open, Submission, TextAnswer, new_evaluation_id, new_seed
from dep_mcp.protocol.errors import CardError, DataError, DepError, NotOpenError, UsageError, WrongKeyError

pytestmark = pytest.mark.docker

CANARY = "2a1c0f52-6a4e-4c0a-9d0f-0d3f4a5b6c7d"
TARGETS = tuple(f"secret-{number}-{hashlib.sha256(b'%d' % number).hexdigest()[:16]}" for number in range(40))
CODE = '''"""Questions from a file."""
from dep_mcp.scoring import ExactMatch
from dep_mcp.server import Benchmark, SealedItem


class Quiz(Benchmark):
    scorer = ExactMatch()

    def items(self, draw):
        for number, row in enumerate(self.rows("test.jsonl")):
            yield SealedItem(f"q-{number}", row["question"], row["answer"], subtask="ab"[number % 2])
'''


@pytest.fixture
def quiz(tmp_path: Path) -> Callable[..., Path]:
    """Makes the folder of a benchmark with data in it."""

    def make(code: str = CODE, canary: str | None = CANARY) -> Path:
        folder = tmp_path / "quiz"
        (folder / "data").mkdir(parents=True)
        rows = [{"question": f"Question {number}?", "answer": target} for number, target in enumerate(TARGETS)]
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (folder / "data" / "test.jsonl").write_bytes(data)
        (folder / "benchmark.py").write_text(code)
        card = {
            "name": "quiz",
            "version": "1",
            "title": "t",
            "description": "d",
            "license": "x",
            "source": "s",
            "data": [{"name": "test.jsonl", "sha256": hashlib.sha256(data).hexdigest()}],
        } | ({"canary": canary} if canary else {})
        lines = (f"{name}: {json.dumps(value)}\n" for name, value in card.items())
        (folder / "dataset_card.yaml").write_text("".join(lines))
        return folder

    return make


async def sealed_folder(runtime: DockerRuntime, plain: Path, keys: OwnerKeys) -> Path:
    folder, _ = Catalogue([]).resolve(f"{plain}/")
    out = plain.with_name("sealed")
    await seal(runtime, folder, find_data(folder, []), keys.new_data_key(), out)
    return out


@asynccontextmanager
async def running(runtime: DockerRuntime, sealed: Path) -> AsyncGenerator[tuple[Container, OperatorClient, str]]:
    folder, _ = Catalogue([]).resolve(f"{sealed}/")
    image = await runtime.ensure_image(build_spec(folder, find_data(folder, []), await runtime.base_image()))
    spec = ContainerSpec(image=image.digest, labels={})
    async with runtime.start(spec) as container, connect(line_transport(container)) as operator:
        yield container, operator, image.digest


def recipient(sealed: Path) -> str:
    folder, _ = Catalogue([]).resolve(f"{sealed}/")
    assert folder.card.sealed is not None
    return folder.card.sealed.recipient


def every_file(image: str) -> bytes:
    """All files of all layers, the configuration and the history, as `docker save` gives them."""
    found = bytearray()
    with docker.APIClient(timeout=300) as client:
        saved = io.BytesIO(b"".join(client.get_image(image)))
        found += json.dumps(client.history(image)).encode() + json.dumps(client.inspect_image(image)).encode()
    with tarfile.open(fileobj=saved) as outer:
        for member in outer.getmembers():
            file = outer.extractfile(member) if member.isfile() else None
            found += b"" if file is None else file.read()
    return bytes(found)


async def test_a_sealed_benchmark_scores_as_its_plain_one_and_no_layer_holds_a_target(
    quiz: Callable[..., Path], tmp_path: Path
) -> None:
    """The whole way: sealed, built, opened with the key, answered rightly; then every byte of the image is searched."""
    keys = OwnerKeys(tmp_path / "keys")
    async with DockerRuntime() as runtime:
        sealed = await sealed_folder(runtime, quiz(), keys)
        async with running(runtime, sealed) as (container, operator, image):
            described = await operator.describe()
            assert (described.sealed, described.tasks, str(described.canary)) == (True, ("a", "b"), CANARY)
            evaluation_id = new_evaluation_id()
            key = keys.data_key(recipient(sealed))
            opening = Open(evaluation_id=evaluation_id, seed=new_seed(), data_key=key)
            opened = await operator.open(opening)
            assert await operator.open(opening) == opened, "a repeated open is the same open"
            assert opened.items == len(TARGETS)
            subject = operator.subject(evaluation_id)
            items = (await subject.get_items()).items
            answers = (TextAnswer(text=TARGETS[int(item.item_id.removeprefix("q-"))]) for item in items)
            pairs = zip(items, answers, strict=True)
            await subject.submit(tuple(Submission(item_id=item.item_id, answer=answer) for item, answer in pairs))
            report = (await subject.score()).report
            assert report is not None
            assert report.ranked == 1.0
            with docker.APIClient() as client:
                inspection = json.dumps(client.inspect_container(container.id))
            assert key not in inspection
    bytes_of_image = every_file(image)
    assert b"bundle.age" in bytes_of_image
    assert CODE.encode() in bytes_of_image, "the search sees into layers"
    for secret in (*TARGETS, key):
        assert secret.encode() not in bytes_of_image
    for path in sealed.rglob("*"):
        assert not any(target.encode() in path.read_bytes() for target in TARGETS)
    assert {path.name for path in sealed.iterdir()} == {"benchmark.py", "bundle.age", "dataset_card.yaml"}
    plain = hashlib.sha256((sealed.with_name("quiz") / "data" / "test.jsonl").read_bytes()).hexdigest()
    assert plain not in (sealed / "dataset_card.yaml").read_text(), "few possible targets could be tried out by it"


async def test_the_image_that_seals_holds_no_data(quiz: Callable[..., Path], tmp_path: Path) -> None:
    """It is built from code alone, so that neither the engine's cache nor its layers ever held a target."""
    async with DockerRuntime() as runtime:
        plain = quiz()
        await sealed_folder(runtime, plain, OwnerKeys(tmp_path / "keys"))
        folder, _ = Catalogue([]).resolve(f"{plain}/")
        spec = build_spec(folder, {}, await runtime.base_image(), without_data=True)
        assert not [name for name in spec.files if "data/" in name]
        image = await runtime.ensure_image(spec)
    assert not any(target.encode() in every_file(image.digest) for target in TARGETS[:5])


async def test_without_the_right_key_nothing_but_describe_is_answered(
    quiz: Callable[..., Path], tmp_path: Path
) -> None:
    """Whoever holds image and folder, but no key, holds nothing; and no refusal repeats what it was given."""
    keys = OwnerKeys(tmp_path / "keys")
    wrong = keys.data_key(keys.new_data_key())
    async with DockerRuntime() as runtime:
        sealed = await sealed_folder(runtime, quiz(), keys)
        async with running(runtime, sealed) as (container, operator, _image):
            evaluation_id = new_evaluation_id()
            for key in (None, wrong, "AGE-SECRET-KEY-1" + "Q" * 58):
                with pytest.raises(WrongKeyError) as refused:
                    await operator.open(Open(evaluation_id=evaluation_id, seed=new_seed(), data_key=key))
                assert "AGE" not in refused.value.detail
            subject = operator.subject(evaluation_id)
            submission = Submission(item_id="q-0", answer=TextAnswer(text=""))
            for call in (subject.get_items(), subject.submit((submission,)), subject.score()):
                with pytest.raises(NotOpenError):
                    await call
            assert (await operator.describe()).sealed
            assert "AGE" not in container.stderr_tail()


async def test_a_bundle_that_was_changed_is_refused(quiz: Callable[..., Path], tmp_path: Path) -> None:
    """On the host by its digest; in a container, should someone build around that, by age's own authentication."""
    keys = OwnerKeys(tmp_path / "keys")
    async with DockerRuntime() as runtime:
        sealed = await sealed_folder(runtime, quiz(), keys)
        bundle = sealed / "bundle.age"
        bundle.write_bytes(bundle.read_bytes()[:-1] + b"\0")
        folder, _ = Catalogue([]).resolve(f"{sealed}/")
        with pytest.raises(DataError):
            find_data(folder, [])
        image = await runtime.ensure_image(build_spec(folder, {}, await runtime.base_image()))
        spec = ContainerSpec(image=image.digest, labels={})
        async with runtime.start(spec) as container, connect(line_transport(container)) as operator:
            key = keys.data_key(recipient(sealed))
            with pytest.raises(WrongKeyError):
                await operator.open(Open(evaluation_id=new_evaluation_id(), seed=new_seed(), data_key=key))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda quiz: quiz(canary=None), CardError),
        (lambda quiz: quiz(CODE.replace("q-{number}", "q")), DataError),
        (lambda quiz: quiz(CODE.replace('row["question"]', 'int(row["answer"])')), DataError),
    ],
    ids=["no canary", "an id twice", "code that raises with a target in its message"],
)
async def test_what_cannot_be_sealed_says_why_without_its_data(
    make: Callable[[Callable[..., Path]], Path], error: type[DepError], quiz: Callable[..., Path], tmp_path: Path
) -> None:
    """A half-made folder would look sealed; a message that quotes a target would be a leak of its own."""
    async with DockerRuntime() as runtime:
        with pytest.raises(error) as refused:
            await sealed_folder(runtime, make(quiz), OwnerKeys(tmp_path / "keys"))
    assert not (tmp_path / "sealed").exists()
    assert "secret-" not in refused.value.detail


async def test_a_generated_benchmark_has_nothing_to_seal(tmp_path: Path) -> None:
    """Its targets come to be at `open`, from a seed that is as secret as a key."""
    folder, _ = Catalogue([]).resolve("reasoning_gym")
    keys = OwnerKeys(tmp_path / "keys")
    async with DockerRuntime() as runtime:
        with pytest.raises(DataError):
            await seal(runtime, folder, {}, keys.new_data_key(), tmp_path / "sealed")
        (tmp_path / "there").mkdir()
        with pytest.raises(UsageError):
            await seal(runtime, folder, {}, keys.new_data_key(), tmp_path / "there")


def test_the_command_seals_and_runs_and_the_key_is_nowhere_but_in_its_file(
    cli: Callable[..., subprocess.CompletedProcess[str]], quiz: Callable[..., Path], tmp_path: Path
) -> None:
    """As a user does it; then the store, the logs, and all that was printed are searched for the key."""
    plain, sealed, home = quiz(), tmp_path / "given-away", tmp_path / "home"
    made = cli("bench", "seal", f"{plain}/", "-o", sealed)
    assert made.returncode == 0, made.stderr
    committed = cli("bench", "commit", f"{sealed}/")
    assert committed.returncode == 0, committed.stderr
    shutil.rmtree(plain)
    ran = cli("run", "-b", f"{sealed}/", "-m", "command:cat", "--limit", "4")
    assert ran.returncode == 0, ran.stderr
    assert "sealed to age1" in ran.stdout
    shown = cli("show", evaluation_of(ran.stderr), "--json")
    document = json.loads(shown.stdout)
    assert document["evaluation"]["settings"]["sealed_to"] == recipient(sealed)
    (kept,) = (home / "keys").glob("age1*.key")
    key = kept.read_text()
    for said in (made, committed, ran, shown):
        assert key not in said.stdout + said.stderr
    searched = [path for path in home.rglob("*") if path.is_file() and path != kept]
    assert [path for path in searched if path.name == "store.sqlite"]
    for path in searched:
        content = path.read_bytes()
        assert key.encode() not in (gzip.decompress(content) if path.suffix == ".gz" else content)
    kept.rename(tmp_path / "key")
    refused = cli("run", "-b", f"{sealed}/", "-m", "command:cat", "--limit", "4")
    assert refused.returncode == 2
    assert "data key" in refused.stderr


def evaluation_of(stderr: str) -> str:
    return next(line.split()[1].rstrip(":") for line in stderr.splitlines() if line.startswith("evaluation "))


async def test_a_copy_of_the_data_beside_the_code_is_not_given_away(quiz: Callable[..., Path], tmp_path: Path) -> None:
    """The folder would look sealed; and what lies where it was to be written stays."""
    plain = quiz()
    (plain / "old.jsonl").write_bytes((plain / "data" / "test.jsonl").read_bytes())
    keys = OwnerKeys(tmp_path / "keys")
    async with DockerRuntime() as runtime:
        with pytest.raises(DataError, match=r"old\.jsonl"):
            await sealed_folder(runtime, plain, keys)
    assert not plain.with_name("sealed").exists()
