"""`python -m dep_mcp.testing` starts the faulty provider."""

from dep_mcp.testing.faulty_provider import main

main()
