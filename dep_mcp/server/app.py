"""The MCP face of a sealed session, on the SDK's low-level `Server`: five tools, closed arguments, typed errors."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import mcp.types as mcp_types
from mcp import MCPError
from mcp.server import Server
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dep_mcp import __version__
from dep_mcp.protocol import Describe, GetItems, Open, ScoreRequest, Submit, WireModel
from dep_mcp.protocol.errors import DepError, InvalidArgumentsError
from dep_mcp.server.session import SealedSession

_INTERNAL = -32603
_INVALID_PARAMS = -32602


class _Tool(NamedTuple):
    arguments: type[WireModel]
    run: Callable[[SealedSession, Any], WireModel]
    description: str
    read_only: bool


_TOOLS: Mapping[str, _Tool] = {
    "describe": _Tool(
        Describe,
        lambda session, _: session.describe(),
        "What this benchmark is, its tasks, licence and digest.",
        True,
    ),
    "get_items": _Tool(
        GetItems,
        SealedSession.get_items,
        "A page of items (at most 100 and 256 KiB) of the evaluation.",
        True,
    ),
    "submit": _Tool(
        Submit,
        SealedSession.submit,
        "Submit answers, each bound to an item and an epoch. Write-once and idempotent.",
        False,
    ),
    "score": _Tool(
        ScoreRequest,
        SealedSession.score,
        "The score, once every item and epoch has an answer or a declared failure. Closes the evaluation.",
        False,
    ),
    "open": _Tool(
        Open,
        SealedSession.open,
        "Operator only: fixes evaluation id, seed, item set and epochs for good.",
        False,
    ),
}


def create_app(session: SealedSession) -> Server[Any]:
    """Make the MCP server of one session."""

    async def list_tools(_ctx: object, _params: object) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=[_declare(name, tool) for name, tool in _TOOLS.items()])

    async def call_tool(_ctx: object, params: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
        tool = _TOOLS.get(params.name)
        if tool is None:
            raise MCPError(_INVALID_PARAMS, f"no tool of that name; there are: {', '.join(_TOOLS)}")
        return _call(session, tool, params.arguments or {})

    name = session.describe().benchmark
    return Server(name, version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)


def _declare(name: str, tool: _Tool) -> mcp_types.Tool:
    return mcp_types.Tool(
        name=name,
        description=tool.description,
        input_schema=tool.arguments.model_json_schema(),
        annotations=mcp_types.ToolAnnotations(
            read_only_hint=tool.read_only, idempotent_hint=True, destructive_hint=False, open_world_hint=False
        ),
    )


def _call(session: SealedSession, tool: _Tool, arguments: Mapping[str, Any]) -> mcp_types.CallToolResult:
    try:
        result = tool.run(session, _parse(tool.arguments, arguments))
    except DepError as error:
        return _result(error.body(), f"{error.code}: {error.detail}", is_error=True)
    except Exception as error:  # noqa: BLE001 (an author's code may raise anything)
        # Whatever an author's code raised may quote a target, so neither its message nor its frames travel.
        sys.stderr.write(f"internal error: {type(error).__name__}\n")
        data = DepError("internal error in the benchmark; its type is on the container's stderr").body()
        raise MCPError(_INTERNAL, data.detail, data.model_dump()) from None
    return _result(result, "see structuredContent", is_error=False)


def _parse(model: type[WireModel], arguments: Mapping[str, Any]) -> WireModel:
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)[:5]
        where = "; ".join(f"{'.'.join(map(str, fault['loc']))[:100]}: {_said(fault)}" for fault in faults)
        raise InvalidArgumentsError(where) from None


def _said(fault: ErrorDetails) -> str:
    """What is wrong, in pydantic's words unless they quote what was sent."""
    return "no such kind" if fault["type"] == "union_tag_invalid" else fault["msg"][:200]


def _result(content: WireModel, text: str, *, is_error: bool) -> mcp_types.CallToolResult:
    return mcp_types.CallToolResult(
        content=[mcp_types.TextContent(type="text", text=text)],
        structured_content=content.model_dump(mode="json"),
        is_error=is_error,
    )
