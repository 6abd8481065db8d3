"""For tests of benchmarks, adapters and whatever is built on dep-mcp: public, documented, never in a product path."""

from dep_mcp.testing.fake_runtime import FakeContainer, FakeRuntime, toy_folder
from dep_mcp.testing.faulty_provider import FaultyProvider, faulty_provider, prompt_sha
from dep_mcp.testing.scripted_model import Script, ScriptedModel

__all__ = [
    "FakeContainer",
    "FakeRuntime",
    "FaultyProvider",
    "Script",
    "ScriptedModel",
    "faulty_provider",
    "prompt_sha",
    "toy_folder",
]
