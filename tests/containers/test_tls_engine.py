"""An engine behind TLS, as remote ones are: here a TLS proxy before this machine's own."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from dep_mcp.containers import ContainerSpec, DockerRuntime, Image
from dep_mcp.protocol.errors import EngineError

pytestmark = pytest.mark.docker

SOCKET = "/var/run/docker.sock"
Ask = Callable[..., Awaitable[str]]


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """One self-signed certificate in every role."""
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "ca.pem").write_bytes((tmp_path / "cert.pem").read_bytes())
    return tmp_path


async def forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    except OSError:
        return
    finally:
        sink.close()


@pytest.fixture
async def tls_engine(certificates: Path) -> AsyncIterator[str]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine_reader, engine_writer = await asyncio.open_unix_connection(SOCKET)
        await asyncio.gather(forward(reader, engine_writer), forward(engine_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("bundle", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
async def test_a_container_behind_tls(
    monkeypatch: pytest.MonkeyPatch, image: Image, tls_engine: str, certificates: Path, ask: Ask, bundle: str
) -> None:
    """A certificate bundle in the environment must not replace the engine's own authority."""
    monkeypatch.setenv("DOCKER_HOST", tls_engine)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
    monkeypatch.setenv(bundle, "/etc/ssl/certs/ca-certificates.crt")
    async with DockerRuntime() as runtime:
        async with runtime.start(ContainerSpec(image=image.digest, labels={})) as container:
            await ask(container)
            assert len(await ask(container, f"large {4 << 20}")) == 4 << 20
            assert await ask(container, "length " + "x" * (4 << 20)) == str(4 << 20)
            await container.write(b"die 5\n")
            assert [line async for line in container.lines()] == []
            assert await container.exit_status() == 5

        async with runtime.start(ContainerSpec(image=image.digest, labels={})) as container:
            await ask(container)


async def test_missing_certificates_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before anything is sent."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    async with DockerRuntime() as runtime:
        with pytest.raises(EngineError, match="TLS"):
            await runtime.ping()
