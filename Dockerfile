# The toolkit itself. It isn't root, so it must be given the engine's group; the volume keeps its store:
#   docker run -v /var/run/docker.sock:/var/run/docker.sock --group-add "$(stat -c %g /var/run/docker.sock)" \
#     -v dep-mcp:/home/dep-mcp dep-mcp run -b … -m …
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="dep-mcp" org.opencontainers.image.licenses="Apache-2.0"
COPY requirements.lock /build/requirements.lock
RUN python -m pip install --no-cache-dir --require-hashes -r /build/requirements.lock
COPY . /build/dep-mcp
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation /build/dep-mcp && rm -rf /build/dep-mcp
RUN install -d -o 65532 -g 65532 /home/dep-mcp
USER 65532:65532
ENV HOME=/home/dep-mcp DEP_MCP_HOME=/home/dep-mcp LITELLM_LOCAL_MODEL_COST_MAP=True
ENTRYPOINT ["dep-mcp"]
