# syntax=docker/dockerfile:1
# Builds the one binary, and ships it on libc and root certificates alone: no shell, not root.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The caches outlive the layer: a change in src/ compiles userpipe alone, not its dependencies.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && \
    install -D target/release/userpipe /out/userpipe && \
    mkdir /out/userpipe-data

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="userpipe" \
      org.opencontainers.image.description="Random User API to Kafka to Cassandra in one binary" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /out/userpipe /usr/local/bin/userpipe
WORKDIR /home/nonroot
# Where the embedded bus, ledger and sink are, if nothing real is named: mount a volume here to keep them. Nothing else is
# written, so that the root file system may be read-only (docker run --read-only --tmpfs /tmp -v NAME:…/userpipe-data).
COPY --from=build --chown=nonroot:nonroot /out/userpipe-data ./userpipe-data
USER nonroot
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["/usr/local/bin/userpipe", "health", "--connect-timeout", "8s"]
ENTRYPOINT ["/usr/local/bin/userpipe"]
CMD ["--help"]
