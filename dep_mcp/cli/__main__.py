"""`python -m dep_mcp.cli` is `dep-mcp`."""

from dep_mcp.cli.main import main

main()
