"""For tests of benchmarks, adapters and whatever is built on dep-mcp: public, documented, never in a product path."""

from dep_mcp.testing.fake_runtime import FakeContainer, FakeRuntime, toy_folder
from dep_mcp.testing.scripted_model import Script, ScriptedModel

__all__ = ["FakeContainer", "FakeRuntime", "Script", "ScriptedModel", "toy_folder"]
