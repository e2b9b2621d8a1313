# The image of penstock: one binary and its libraries, no shell, not root.
#
#   docker build -t registry.example/penstock:0.1.0 .
#
# The second stage is empty but for what dev/image assembles; the tests of the chart assemble and start the same.
ARG RUST=rust:1.89-bookworm
FROM ${RUST} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        cmake pkg-config python3 binutils ca-certificates zlib1g-dev libssl-dev libsasl2-dev libcurl4-openssl-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --bin penstock \
    && dev/image --penstock target/dist/penstock /rootfs

FROM scratch
LABEL org.opencontainers.image.title="penstock" \
      org.opencontainers.image.description="Takes events from Kafka into ClickHouse" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /rootfs/ /
USER 65532:65532
WORKDIR /
EXPOSE 9464
ENTRYPOINT ["/usr/bin/penstock"]
CMD ["run"]
