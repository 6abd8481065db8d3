"""Sealed containers: the port to a container engine, and its Docker implementation.

Importing this loads no vendor; `DockerRuntime` imports the `docker` SDK on its first call.
"""

from dep_mcp.containers.docker_runtime import DockerRuntime
from dep_mcp.containers.hardening import REQUIREMENTS, Requirement, verify
from dep_mcp.containers.images import CONTENT_LABEL, OFFICIAL_BASE
from dep_mcp.containers.owner import Owner, this_process
from dep_mcp.containers.port import BuildSpec, Container, ContainerRuntime, ContainerSpec, Image

__all__ = [
    "CONTENT_LABEL",
    "OFFICIAL_BASE",
    "REQUIREMENTS",
    "BuildSpec",
    "Container",
    "ContainerRuntime",
    "ContainerSpec",
    "DockerRuntime",
    "Image",
    "Owner",
    "Requirement",
    "this_process",
    "verify",
]
