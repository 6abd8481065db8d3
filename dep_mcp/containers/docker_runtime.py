"""The door to Docker: the only importer of the `docker` SDK, and that only on first use.

It says in this room's words what the SDK says in its own, errors included. How containers are sealed is in
`hardening`, how they live in `runtime`, how images are named in `images`.
"""

import asyncio
import json
import logging
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Event, Lock
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from dep_mcp.containers.engine import Found, Isolation
from dep_mcp.containers.engine_errors import first_line, translate
from dep_mcp.containers.runtime import SealedRuntime
from dep_mcp.containers.waiting import in_thread
from dep_mcp.containers.wire import Wire
from dep_mcp.protocol.errors import EngineError

T = TypeVar("T")

if TYPE_CHECKING:
    from requests import Response

Client = Any  # docker.APIClient: the SDK has no types, and `Any` ends at this door

PING_TIMEOUT_S = 10.0
CALL_TIMEOUT_S = 60.0
BUILD_TIMEOUT_S = 3600.0
SILENCE_TIMEOUT_S = 900.0
"""Longest pause in a build's output: an installation in a RUN step can be quiet for minutes."""

CONNECTIONS = 64
CONFLICT = 409
DEFAULT_ADDRESS = "unix:///var/run/docker.sock"

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_log = logging.getLogger(__name__)


class DockerRuntime(SealedRuntime):
    """The port's runtime on a Docker engine: the one of `DOCKER_HOST`, else of the current Docker context.

    Use it as an async context manager: leaving it closes the connections to the engine. Nothing connects
    before the first call.

    Args:
        orchestrator_id: Owner of the containers, from `this_process()`.
        on_build: Called with every line of an image build.
        runtime: As of `SealedRuntime`.
        remapped: As of `SealedRuntime`.
    """

    def __init__(
        self,
        orchestrator_id: str | None = None,
        *,
        on_build: Callable[[str], None] | None = None,
        runtime: str = "",
        remapped: bool = False,
    ) -> None:
        super().__init__(DockerEngine(), orchestrator_id, on_build=on_build, runtime=runtime, remapped=remapped)


class DockerEngine:
    """The room's engine with the SDK: each blocking call in a thread, bounded, its errors translated."""

    def __init__(self) -> None:
        self._client: Client = None
        self._connecting = Lock()
        self._address = DEFAULT_ADDRESS

    async def ping(self) -> str:
        """Say which engine answers."""
        version = await self._call(lambda client: client.version(), PING_TIMEOUT_S)
        names = [str(part.get("Name", "")) for part in version.get("Components") or ()]
        return f"{'podman' if any('Podman' in name for name in names) else 'docker'} {version['Version']}"

    async def isolation(self) -> Isolation:
        """How it isolates, as it says itself."""
        info = await self._call(lambda client: client.info())
        options = [str(option) for option in info.get("SecurityOptions") or ()]
        return Isolation(
            runtime=str(info.get("DefaultRuntime") or ""),
            runtimes=tuple(info.get("Runtimes") or ()),
            remapped=any(option.startswith("name=userns") for option in options),
        )

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await in_thread(client.close)

    async def find_image(self, name: str) -> Found | None:
        """The local image of that tag or id."""

        def find(client: Client) -> Found | None:
            from docker.errors import ImageNotFound

            try:
                image = client.inspect_image(name)
            except ImageNotFound:
                return None
            labels = (image.get("Config") or {}).get("Labels") or {}
            return Found(id=image["Id"], tags=image.get("RepoTags") or (), labels=labels)

        return await self._call(find)

    async def pull(self, name: str, *, timeout_s: float) -> None:
        """Fetch an image from its registry."""
        stop = Event()

        def pull(client: Client) -> str | None:
            return _follow(client.pull(name, stream=True, decode=True), stop, lambda _line: None)

        try:
            problem = await self._call(pull, timeout_s)
        finally:
            stop.set()
        if problem is not None:
            raise EngineError(problem)

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
        """Build from a tar with the classic builder; return what stopped it, or `None`."""
        loop, stop = asyncio.get_running_loop(), Event()

        def build(client: Client) -> str | None:
            from docker.errors import APIError

            try:
                events = client.build(
                    fileobj=context,
                    custom_context=True,
                    tag=tag,
                    labels=dict(labels),
                    buildargs=dict(build_args),
                    network_mode=None if network else "none",
                    rm=True,
                    forcerm=True,
                    decode=True,
                    timeout=SILENCE_TIMEOUT_S,
                )
                return _follow(events, stop, lambda line: loop.call_soon_threadsafe(on_line, line))
            except APIError as exc:  # such as a Dockerfile that can't be parsed
                return first_line(exc)

        try:
            return await self._call(build, BUILD_TIMEOUT_S)
        finally:
            stop.set()  # a cancelled build ends at its next line

    async def create(self, request: Mapping[str, object]) -> str:
        """Create a container from the engine's JSON; return its id."""
        name = f"dep-mcp-{secrets.token_hex(6)}"
        # not `create_container`: it would add the proxies of ~/.docker/config.json, with their passwords
        made = await self._call(lambda client: client.create_container_from_config(dict(request), name))
        for warning in made.get("Warnings") or ():
            _log.warning("engine, about %s: %s", name, warning)
        return str(made["Id"])

    async def inspect(self, container_id: str) -> Mapping[str, object]:
        """All the engine says of it."""
        found: Mapping[str, object] = await self._call(lambda client: client.inspect_container(container_id))
        return found

    async def attach(self, container_id: str) -> Wire:
        """Connect to its input, output and errors."""
        streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        return Wire(await self._call(lambda client: client.attach_socket(container_id, params=streams)))

    async def watch_exit(self, container_id: str) -> "asyncio.Future[int | None]":
        """Begin to wait for its next exit.

        The engine sends the headers once the wait is registered; the SDK's own `wait` returns only at the
        exit, so that a container that ends at once, and is removed, could be missed.
        """

        def register(client: Client) -> "Response":
            url = f"{client.base_url}/v{client.api_version}/containers/{container_id}/wait"
            answer = client.post(url, params={"condition": "next-exit"}, stream=True, timeout=(CALL_TIMEOUT_S, None))
            answer.raise_for_status()
            return cast("Response", answer)

        answer = await self._call(register)
        return in_thread(lambda: _exit_status(answer))

    async def start_container(self, container_id: str) -> None:
        """Start it."""
        await self._call(lambda client: client.start(container_id))

    async def remove(self, container_id: str) -> None:
        """Kill and remove it; returns when it is gone."""

        def remove(client: Client) -> None:
            from docker.errors import APIError, NotFound

            try:
                client.remove_container(container_id, force=True, v=True)
            except NotFound:
                return
            except APIError as exc:
                if exc.status_code != CONFLICT:
                    raise
                try:  # the engine is removing it already
                    client.wait(container_id, timeout=CALL_TIMEOUT_S, condition="removed")
                except NotFound:
                    return

        await self._call(remove)

    async def labelled_containers(self, label: str) -> Sequence[Found]:
        """All containers with the label, running or not."""
        found = await self._call(lambda client: client.containers(all=True, filters={"label": label}))
        return [Found(id=one["Id"], labels=one.get("Labels") or {}) for one in found]

    async def remove_image(self, image: str) -> None:
        """Remove it, unless something uses it."""

        def remove(client: Client) -> None:
            from docker.errors import APIError, ImageNotFound

            try:
                client.remove_image(image)
            except ImageNotFound:
                return
            except APIError as exc:
                if exc.status_code != CONFLICT:
                    raise

        await self._call(remove)

    async def evidence(self, image: str, container_id: str) -> Mapping[str, bytes]:
        """Inspections, history, layers and the engine's own log."""

        def collect(client: Client) -> Mapping[str, bytes]:
            from docker.errors import APIError

            try:
                log = bytes(client.logs(container_id))
            except APIError as exc:  # there is none, as it should be
                log = str(exc.explanation).encode()
            return {
                "inspection of the container": json.dumps(client.inspect_container(container_id)).encode(),
                "changes of the container's files": json.dumps(client.diff(container_id)).encode(),
                "log of the engine": log,
                "inspection of the image": json.dumps(client.inspect_image(image)).encode(),
                "history of the image": json.dumps(client.history(image)).encode(),
                "layers of the image": b"".join(client.get_image(image)),
            }

        return await self._call(collect, SILENCE_TIMEOUT_S)

    async def _call(self, work: Callable[[Client], T], timeout_s: float = CALL_TIMEOUT_S) -> T:
        """Run one piece of work on the SDK's client in a thread."""
        try:
            async with asyncio.timeout(timeout_s):
                return await in_thread(lambda: work(self._connected()))
        except TimeoutError as exc:
            message = f"the container engine at {self._address} did not answer in {timeout_s:.0f} s; restart it"
            raise EngineError(message) from exc
        except Exception as exc:
            raise translate(exc, self._address) from exc

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Client:
        import docker
        from docker.constants import DEFAULT_DOCKER_API_VERSION
        from docker.context import ContextAPI
        from docker.utils import kwargs_from_env

        where = kwargs_from_env() or ContextAPI.kwargs_from_context()
        self._address = where.get("base_url", DEFAULT_ADDRESS)
        _knock(self._address)

        def client(version: str) -> Client:
            made = docker.APIClient(version=version, timeout=CALL_TIMEOUT_S, max_pool_size=CONNECTIONS, **where)
            # else REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE override the engine's own certificate authority
            made.trust_env = False
            return made

        first = client(DEFAULT_DOCKER_API_VERSION)  # "auto" would connect before trust_env is off
        try:
            return client(first.version(api_version=False)["ApiVersion"])
        finally:
            first.close()


def _knock(address: str) -> None:
    """Fail at once, and cleanly: the SDK leaks its socket when a Unix socket can't be connected."""
    scheme, _, path = address.partition("://")
    if scheme in {"unix", "http+unix"}:
        with socket.socket(socket.AF_UNIX) as knock:
            knock.settimeout(PING_TIMEOUT_S)
            knock.connect(path if path.startswith("/") else f"/{path}")


def _real_tags(image: Mapping[str, Any]) -> Sequence[str]:
    return [tag for tag in image.get("RepoTags") or () if tag != "<none>:<none>"]


def _follow(events: Iterator[Mapping[str, Any]], stop: Event, on_line: Callable[[str], Any]) -> str | None:
    """Report a build's or pull's output; return its error, if it ends with one."""
    for event in events:
        if stop.is_set():
            return "cancelled"
        if "error" in event:
            return _COLOUR.sub("", str(event["error"])).strip()
        for line in str(event.get("stream", "")).splitlines():
            if clean := _COLOUR.sub("", line).rstrip():
                on_line(clean)
    return None


def _exit_status(answer: "Response") -> int | None:
    try:
        with answer:
            return int(json.loads(answer.content)["StatusCode"])
    except Exception as exc:  # noqa: BLE001  # the engine went away: the status is unknown, which isn't an error
        _log.debug("no exit status: %s", exc)
        return None
