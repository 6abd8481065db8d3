"""Vendor errors in this project's words."""

import inspect

import docker.errors
import pytest
import requests
import urllib3

from dep_mcp.containers.engine_errors import TABLE, translate
from dep_mcp.protocol.errors import ContainerLostError, DepError, EngineError, ImageBuildError

VENDOR = [
    kind
    for _, kind in inspect.getmembers(docker.errors, inspect.isclass)
    if kind.__module__ == "docker.errors" and issubclass(kind, Exception)
]
HTTP = [requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError]


@pytest.mark.parametrize("kind", [*VENDOR, *HTTP], ids=lambda kind: kind.__name__)
def test_every_vendor_class_has_a_row(kind: type[Exception]) -> None:
    """A class that a new version of the SDK adds must be looked at, not caught by its base."""
    assert f"{kind.__module__}.{kind.__qualname__}" in TABLE


@pytest.mark.parametrize("name", list(TABLE))
def test_no_row_names_a_class_that_does_not_exist(name: str) -> None:
    """A misspelt row would translate nothing."""
    module, _, kind = name.rpartition(".")

    assert hasattr(__import__(module, fromlist=[kind]), kind)


@pytest.mark.parametrize(
    ("vendor", "ours"),
    [
        (docker.errors.ImageNotFound("x"), EngineError),
        (docker.errors.NotFound("x"), ContainerLostError),
        (docker.errors.APIError("x"), EngineError),
        (docker.errors.ImageLoadError("x"), ImageBuildError),
        (requests.exceptions.ReadTimeout("x"), EngineError),
        (urllib3.exceptions.ProtocolError("x"), EngineError),
        (ConnectionResetError("x"), EngineError),
    ],
)
def test_the_most_specific_row_wins(vendor: Exception, ours: type[DepError]) -> None:
    """`NotFound` is an `APIError` is a `RequestException` is an `OSError`."""
    assert type(translate(vendor, "unix:///x")) is ours


def test_a_refused_socket_says_so_however_it_is_wrapped() -> None:
    """The commonest cause on a new machine is a missing group, not a missing engine."""
    wrapped = requests.exceptions.ConnectionError("aborted")
    wrapped.__context__ = PermissionError(13, "Permission denied")

    assert "group" in str(translate(wrapped, "unix:///x"))


def test_our_own_bugs_are_not_disguised() -> None:
    """A `TypeError` isn't the engine's fault."""
    bug = TypeError("x")

    assert translate(bug, "unix:///x") is bug
