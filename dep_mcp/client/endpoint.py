"""The tools of a benchmark endpoint as typed methods, on the subject's side and on the operator's."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from dep_mcp.protocol import (
    MESSAGE_BYTES,
    PROTOCOL_VERSION,
    Describe,
    Description,
    GetItems,
    ItemPage,
    Open,
    Opened,
    ScoreRequest,
    ScoreResult,
    Submission,
    Submit,
    Submitted,
    WireModel,
)
from dep_mcp.protocol.errors import ContainerLostError, DepError, ErrorBody

if TYPE_CHECKING:
    from mcp import Client

Result = TypeVar("Result", bound=WireModel)

CALL_TIMEOUT_S = 120.0
"""Deadline of one call: scoring a full page of slow submissions fits in it."""


class SubjectClient:
    """What a model under evaluation (or the runner on its behalf) may call.

    Args:
        client: A connected MCP client.
        evaluation_id: Sent with every call.
    """

    def __init__(self, client: "Client", evaluation_id: str) -> None:
        self._client = client
        self._evaluation_id = evaluation_id

    async def describe(self) -> Description:
        """What the benchmark says of itself; see `OperatorClient.describe`."""
        return await _describe(self._client)

    async def get_items(self, cursor: str | None = None) -> ItemPage:
        """One page of items."""
        return await _call(
            self._client, "get_items", GetItems(evaluation_id=self._evaluation_id, cursor=cursor), ItemPage
        )

    async def submit(self, submissions: tuple[Submission, ...]) -> Submitted:
        """Submit at most 100 answers or declared failures; those that the server had no time for again.

        Long answers go in several calls, each of `MESSAGE_BYTES` at most unless one alone is larger: the server
        has a whole message in memory more than once.
        """
        done = Submitted(accepted=0, duplicates=0)
        while True:
            request = Submit(evaluation_id=self._evaluation_id, submissions=submissions[: _fitting(submissions)])
            part = await _call(self._client, "submit", request, Submitted)
            done = Submitted(
                accepted=done.accepted + part.accepted,
                duplicates=done.duplicates + part.duplicates,
                rejected=done.rejected + part.rejected,
            )
            taken = part.accepted + part.duplicates + len(part.rejected)
            if not 0 < taken <= len(submissions):
                msg = "the benchmark says that it took none of the submissions, or more than were sent"
                raise DepError(msg)
            submissions = submissions[taken:]
            if not submissions:
                return done

    async def score(self, cursor: str | None = None) -> ScoreResult:
        """The score of a complete evaluation."""
        request = ScoreRequest(evaluation_id=self._evaluation_id, cursor=cursor)
        return await _call(self._client, "score", request, ScoreResult)


class OperatorClient:
    """What only the orchestrator calls."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    async def open(self, opening: Open) -> Opened:
        """Fix the item set of the evaluation."""
        return await _call(self._client, "open", opening, Opened)

    async def describe(self) -> Description:
        """What the benchmark says of itself.

        Raises:
            DepError: It speaks another major version of the protocol.
        """
        return await _describe(self._client)

    def subject(self, evaluation_id: str) -> SubjectClient:
        """The subject's side of the same connection."""
        return SubjectClient(self._client, evaluation_id)


@asynccontextmanager
async def connect(transport: Any) -> AsyncGenerator[OperatorClient]:  # noqa: ANN401 (whatever the SDK's Client takes)
    """Connect to a benchmark endpoint over any transport of the MCP SDK, or in memory to its `Server`.

    Raises:
        ContainerLostError: The endpoint doesn't answer as an MCP server.
    """
    from mcp import Client, MCPError

    try:
        async with Client(transport, read_timeout_seconds=CALL_TIMEOUT_S, mode="2026-07-28", cache=None) as client:
            yield OperatorClient(client)
    except BaseExceptionGroup as group:
        # The SDK's task groups wrap what the block raised: what matters travels on as itself.
        raise _only(group) from group
    except MCPError as error:
        raise _rebuild(error.data, error.message) from error


def _fitting(submissions: tuple[Submission, ...]) -> int:
    """How many fit into one message; at least one."""
    size = 0
    for count, submission in enumerate(submissions):
        size += len(submission.model_dump_json().encode())
        if count and size > MESSAGE_BYTES:
            return count
    return len(submissions)


def _only(group: BaseExceptionGroup) -> BaseException:
    """The error that matters; that the connection is lost follows from it, or the first such error says why."""
    errors = list(_leaves(group))
    others = [error for error in errors if not isinstance(error, ContainerLostError)]
    if len(others) > 1:
        return group
    return (others or errors)[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


async def _describe(client: "Client") -> Description:
    description = await _call(client, "describe", Describe(), Description)
    if description.protocol.split(".")[0] != PROTOCOL_VERSION.split(".")[0]:
        msg = f"the benchmark speaks protocol {description.protocol}, this client {PROTOCOL_VERSION}: rebuild it"
        raise DepError(msg)
    return description


async def _call(client: "Client", tool: str, arguments: WireModel, kind: type[Result]) -> Result:
    """Call a tool of an endpoint that may be hostile.

    Not by the SDK's `call_tool`: it lists the tools and checks the result by their schemas, whose regular expressions
    can stop this process for good, and it does what a result that asks for input says.
    """
    import anyio
    from mcp import MCPError
    from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult

    request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments.model_dump(mode="json")))
    try:
        result = await client.session.send_request(request, CallToolResult)
    except MCPError as error:
        raise _rebuild(error.data, error.message) from error
    except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
        msg = f"the benchmark's connection closed during {tool}"
        raise ContainerLostError(msg) from error
    except ValidationError as error:
        raise _shapeless(tool, error) from error
    if result.is_error:
        raise _rebuild(result.structured_content, f"{tool} failed")
    try:
        return kind.model_validate(result.structured_content)  # as JSON again, it would take 200 times its size
    except ValidationError as error:
        raise _shapeless(tool, error) from error


def _shapeless(tool: str, error: ValidationError) -> DepError:
    return DepError(f"the benchmark's answer to {tool} isn't of the protocol's shape: {error.error_count()} faults")


def _rebuild(data: object, message: str) -> DepError:
    """The error that the endpoint raised, by its code; without one, the connection's own fault."""
    try:
        body = ErrorBody.model_validate(data)
    except ValidationError:
        return ContainerLostError(f"the benchmark's container gave no answer: {message}")
    return DepError.from_body(body)
