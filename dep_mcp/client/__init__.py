"""The typed client of one benchmark endpoint, and its transports. Errors are rebuilt by code."""

from dep_mcp.client.endpoint import OperatorClient, SubjectClient, connect
from dep_mcp.client.transports import LineStream, line_transport

__all__ = ["LineStream", "OperatorClient", "SubjectClient", "connect", "line_transport"]
