"""Naming images by content, and choosing a base, without an engine."""

import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.containers.engine import Found
from dep_mcp.containers.images import (
    CONTENT_LABEL,
    OFFICIAL_BASE,
    BuildOutput,
    ImageBuilder,
    base_image,
    content_digest,
    write_context,
)
from dep_mcp.containers.port import BuildSpec
from dep_mcp.protocol.errors import EngineError, ImageBuildError

FILES = st.dictionaries(st.text("abc/", min_size=1, max_size=8), st.binary(max_size=20), max_size=5)


class FakeEngine:
    """An engine of images in memory."""

    def __init__(self, *images: Found, registry: Sequence[str] = ()) -> None:
        self.images = list(images)
        self.registry = registry
        self.builds: list[Mapping[str, str]] = []
        self.networks: list[bool] = []
        self.problem: str | None = None
        self.output: list[str] = []

    async def find_image(self, name: str) -> Found | None:
        return next((one for one in self.images if name in {one.id, *one.tags}), None)

    async def pull(self, name: str, *, timeout_s: float) -> None:
        del timeout_s
        if name not in self.registry:
            message = "no such host"
            raise EngineError(message)
        self.images.append(Found(id="sha256:pulled", tags=[name], labels={}))

    async def build(
        self,
        context: IO[bytes],
        *,
        tag: str,
        labels: Mapping[str, str],
        build_args: Mapping[str, str],
        network: bool,
        on_line: Callable[[str], None],
    ) -> str | None:
        self.builds.append(build_args)
        self.networks.append(network)
        digest = hashlib.sha256(context.read()).hexdigest()
        for line in self.output:
            on_line(line)
        if self.problem is None:
            self.images.append(Found(id=f"sha256:{digest}", tags=[tag], labels=labels))
        return self.problem


def a_spec(**files: bytes) -> BuildSpec:
    dockerfile = b"ARG BASE_IMAGE\nFROM $BASE_IMAGE\n"
    return BuildSpec(name="toy", files={"Dockerfile": dockerfile, **files})


def context_of(spec: BuildSpec) -> bytes:
    out = io.BytesIO()
    write_context(spec, out)
    return out.getvalue()


@given(files=FILES)
def test_the_order_of_files_and_arguments_does_not_matter(files: dict[str, bytes]) -> None:
    """The same content built elsewhere must get the same name."""
    one = BuildSpec(name="a", files=files, build_args={"x": "1", "y": "2"})
    other = BuildSpec(name="a", files=dict(reversed(files.items())), build_args={"y": "2", "x": "1"})

    assert content_digest(one, base_id="b") == content_digest(other, base_id="b")


def test_everything_that_decides_the_content_changes_the_digest() -> None:
    """An image must never be taken for another."""
    specs = [
        (a_spec(x=b"1"), "base"),
        (a_spec(x=b"2"), "base"),
        (a_spec(y=b"1"), "base"),
        (a_spec(x=b"1"), "another base"),
        (BuildSpec(name="toy", files=a_spec(x=b"1").files, build_args={"a": "b"}), "base"),
    ]

    assert len({content_digest(spec, base_id=base) for spec, base in specs}) == len(specs)


def test_the_name_of_the_base_does_not_count() -> None:
    """Machines call the same base differently; its id is what counts."""
    one = BuildSpec(name="toy", files={}, build_args={"BASE_IMAGE": "python:3.11"})
    other = BuildSpec(name="toy", files={}, build_args={"BASE_IMAGE": "local/python"})

    assert content_digest(one, base_id="b") == content_digest(other, base_id="b")


def test_the_context_depends_on_content_alone(tmp_path: Path) -> None:
    """Times, owners and modes of a checkout differ, and would make another image of the same files."""
    file = tmp_path / "x"
    file.write_bytes(b"#!/bin/sh\n")
    file.chmod(0o600)
    first = context_of(BuildSpec(name="toy", files={"x": file}))
    os.utime(file, (1, 1))
    file.chmod(0o777)

    assert context_of(BuildSpec(name="toy", files={"x": file})) == first
    assert context_of(BuildSpec(name="toy", files={"x": b"#!/bin/sh\n"})) == first


async def test_an_image_is_built_once() -> None:
    """A build takes many seconds, and its image is named by its content."""
    engine = FakeEngine(Found(id="sha256:base", tags=[OFFICIAL_BASE], labels={}))
    builder = ImageBuilder(engine)

    first = await builder.ensure(a_spec())

    assert await builder.ensure(a_spec()) == first
    assert await ImageBuilder(engine).ensure(a_spec()) == first
    assert engine.builds == [{"BASE_IMAGE": OFFICIAL_BASE}]


async def test_a_tag_without_its_label_is_not_trusted() -> None:
    """Anyone can tag an image by hand."""
    engine = FakeEngine(Found(id="sha256:base", tags=[OFFICIAL_BASE], labels={}))
    tag = (await ImageBuilder(engine).ensure(a_spec())).tag
    engine.images = [engine.images[0], Found(id="sha256:forged", tags=[tag], labels={CONTENT_LABEL: "0"})]

    with pytest.raises(ImageBuildError):  # the fake finds the forged one again
        await ImageBuilder(engine).ensure(a_spec())
    assert len(engine.builds) == 2


async def test_a_failed_build_shows_its_step_and_its_end() -> None:
    """The cause is in the last lines, the place in the step that scrolled away."""
    engine = FakeEngine(Found(id="sha256:base", tags=[OFFICIAL_BASE], labels={}))
    engine.problem, engine.output = "returned 1", ["Step 2/3 : RUN make", *(f"line {n}" for n in range(40))]

    with pytest.raises(ImageBuildError) as failure:
        await ImageBuilder(engine).ensure(a_spec())

    assert all(part in failure.value.detail for part in ("RUN make", "line 39", "line 25", "returned 1"))
    assert "line 24" not in failure.value.detail


def test_every_line_of_a_build_is_reported() -> None:
    """A first build is long; silence looks like a hang."""
    heard: list[str] = []
    output = BuildOutput(heard.append)
    output.add("a")
    output.add("b")

    assert heard == ["a", "b"] == output.last()


@pytest.mark.parametrize("spec", [BuildSpec(name="toy", files={}), BuildSpec(name="To y", files=a_spec().files)])
async def test_a_spec_that_cannot_be_built_is_refused(spec: BuildSpec) -> None:
    """Before anything is asked of the engine."""
    with pytest.raises(ImageBuildError):
        await ImageBuilder(FakeEngine()).ensure(spec)


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Benchmarks list their data files, and some are fetched apart."""
    files: dict[str, Path | bytes] = {"Dockerfile": b"FROM x\n", "data": tmp_path / "absent.jsonl"}

    with pytest.raises(ImageBuildError, match=r"absent\.jsonl"):
        await ImageBuilder(FakeEngine()).ensure(BuildSpec(name="toy", files=files))


async def test_the_official_base_comes_first() -> None:
    """It is what a user's machine has, and what published results are built on."""
    made = Found(id="sha256:made", tags=["dep-mcp/base:python3.11"], labels={})
    official = Found(id="sha256:official", tags=[OFFICIAL_BASE], labels={})

    assert await base_image(FakeEngine(made, official)) == official


async def test_a_base_of_setup_serves_where_there_is_no_registry() -> None:
    """The newest of them."""
    older = Found(id="sha256:o", tags=["dep-mcp/base:python3.11"], labels={})
    newer = Found(id="sha256:n", tags=["dep-mcp/base:python3.13"], labels={})
    assert await base_image(FakeEngine(older)) == older
    assert await base_image(FakeEngine(older, newer)) == newer


async def test_the_official_base_is_pulled_as_a_last_resort() -> None:
    """So that a fresh machine with a registry needs no setup."""
    assert (await base_image(FakeEngine(registry=[OFFICIAL_BASE]))).tags == [OFFICIAL_BASE]


@pytest.mark.parametrize("explicit", [None, "mine:1"])
async def test_no_base_says_what_to_do(explicit: str | None) -> None:
    """A base that was asked for is never replaced by another."""
    with pytest.raises(ImageBuildError, match="dep-mcp setup"):
        await base_image(FakeEngine(), explicit)


async def test_what_is_built_on_another_spec_has_no_network_and_that_as_its_base() -> None:
    """What comes in above, an author's code among it, could send out what it finds."""
    engine = FakeEngine()
    engine.images.append(Found(id="sha256:base", tags=[OFFICIAL_BASE], labels={}))
    below = a_spec(requirements=b"1")
    above = replace(a_spec(code=b"x"), name="above", below=below)
    image = await ImageBuilder(engine).ensure(above)
    assert engine.networks == [True, False]
    assert engine.builds[1]["BASE_IMAGE"] == (await ImageBuilder(engine).ensure(below)).tag
    assert await ImageBuilder(engine).ensure(above) == image
    assert len(engine.builds) == 2
    other = replace(above, below=a_spec(requirements=b"2"))
    assert (await ImageBuilder(engine).ensure(other)).tag != image.tag
