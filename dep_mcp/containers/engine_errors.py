"""What the vendor's errors become, by their class's name, so that no vendor is imported.

The class nearest to the error in its own ancestry decides: the most specific row, whatever their order here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dep_mcp.protocol.errors import ContainerLostError, EngineError, ImageBuildError


@dataclass(frozen=True)
class Row:
    """What one vendor class becomes, and what is said of `{what}`, its text, and `{where}`, the address."""

    becomes: type[EngineError]
    says: str


NO_ANSWER = Row(
    EngineError,
    "no container engine answers at {where}: {what}\n"
    "Run `dep-mcp setup` to install and start one, or set DOCKER_HOST to one that runs.",
)
REFUSED = Row(EngineError, "the container engine at {where} refused: {what}")
MISUSED = Row(EngineError, "the container engine could not be asked: {what}")
TOO_OLD = Row(EngineError, "the container engine at {where} doesn't fit this client: {what}; update it")
TLS = Row(
    EngineError,
    "the engine's TLS settings are wrong: {what}; check DOCKER_TLS_VERIFY and DOCKER_CERT_PATH",
)
CONTEXT = Row(
    EngineError,
    "the Docker context can't be used: {what}; set DOCKER_HOST, or run `docker context use default`",
)
BUILD = Row(ImageBuildError, "the container engine at {where} could not make the image: {what}")

TABLE: Mapping[str, Row] = {
    "docker.errors.ImageNotFound": Row(EngineError, "the image isn't there: {what}; build or pull it first"),
    "docker.errors.NotFound": Row(ContainerLostError, "the container isn't there: {what}; start another"),
    "docker.errors.APIError": REFUSED,
    "docker.errors.BuildError": BUILD,
    "docker.errors.ImageLoadError": BUILD,
    "docker.errors.ContainerError": Row(ContainerLostError, "the container failed: {what}; start another"),
    "docker.errors.StreamParseError": REFUSED,
    "docker.errors.InvalidVersion": TOO_OLD,
    "docker.errors.DeprecatedMethod": TOO_OLD,
    "docker.errors.TLSParameterError": TLS,
    "docker.errors.ContextNotFound": CONTEXT,
    "docker.errors.ContextAlreadyExists": CONTEXT,
    "docker.errors.ContextException": CONTEXT,
    "docker.errors.MissingContextParameter": CONTEXT,
    "docker.errors.InvalidConfigFile": Row(EngineError, "~/.docker/config.json can't be read: {what}"),
    "docker.errors.InvalidRepository": MISUSED,
    "docker.errors.InvalidArgument": MISUSED,
    "docker.errors.NullResource": MISUSED,
    "docker.errors.DockerException": MISUSED,
    "requests.exceptions.RequestException": NO_ANSWER,
    "urllib3.exceptions.HTTPError": NO_ANSWER,
    "builtins.PermissionError": Row(
        EngineError,
        "the container engine at {where} may not be used: {what}; add the user to the group of its socket",
    ),
    "builtins.OSError": NO_ANSWER,
}


def translate(exc: Exception, where: str) -> Exception:
    """Say a vendor's error in this project's words; an error that isn't the vendor's comes back as it is."""
    if _denied(exc):
        exc = PermissionError("permission denied")
    for kind in type(exc).__mro__:
        if row := TABLE.get(f"{kind.__module__}.{kind.__qualname__}"):
            return row.becomes(row.says.format(where=where, what=first_line(exc)))
    return exc


def _denied(exc: BaseException) -> bool:
    """Whether a refused socket is behind it: HTTP libraries wrap that in a general connection error."""
    cause: BaseException | None = exc
    for _ in range(8):  # bounded: a chain may be a circle
        if cause is None or isinstance(cause, PermissionError):
            break
        cause = cause.__cause__ or cause.__context__
    return isinstance(cause, PermissionError)


def first_line(exc: BaseException) -> str:
    """The vendor's own explanation if there is one, without what follows its first line."""
    text = str(getattr(exc, "explanation", None) or exc).strip()
    return text.splitlines()[0] if text else type(exc).__name__
