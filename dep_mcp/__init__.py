"""dep-mcp: a decentralized evaluation protocol for language models, and its toolkit.

Nothing is imported here: `dep-mcp --help` and a sealed container each load only what they use.
"""

__version__ = "0.1.0"
