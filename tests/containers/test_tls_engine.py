"""An engine behind TLS, as remote ones are: here a TLS proxy before this machine's own."""

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
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


PROXY = """
import asyncio, ssl, sys

folder, engine = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder + "/ca.pem")
context.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")
context.verify_mode = ssl.CERT_REQUIRED

async def forward(source, sink):
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()

async def serve(reader, writer):
    engine_reader, engine_writer = await asyncio.open_unix_connection(engine)
    await asyncio.gather(forward(reader, engine_writer), forward(engine_reader, writer))

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@pytest.fixture
def tls_engine(certificates: Path) -> Iterator[str]:
    command = [sys.executable, "-c", PROXY, str(certificates), SOCKET]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as proxy:
        assert proxy.stdout is not None
        yield f"tcp://127.0.0.1:{proxy.stdout.readline().strip()}"
        proxy.kill()


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
