# One image for `coord up` and for the workers of every team; docker-compose.yml says which container is which.

FROM python:3.13-slim AS build
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY coordinator ./coordinator
COPY workers ./workers
COPY cli ./cli
RUN pip install --no-cache-dir --constraint constraints.txt hatchling \
    && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.13-slim
# Tasks work on git repositories, which belong to another user when they are mounted from the host.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /work
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /tmp/wheels
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt /tmp/wheels/*.whl \
    && rm -r /tmp/wheels /tmp/constraints.txt \
    && useradd --create-home --uid 1000 coord \
    && install --directory --owner coord --group coord /work

USER coord
WORKDIR /work
ENTRYPOINT ["coord"]
CMD ["--help"]
