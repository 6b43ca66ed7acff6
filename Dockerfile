# The image of certagent: one binary without the demo (`certagent dev`) on a small base with glibc, as user 10001, without a shell.
#
#   docker build -t certagent .                          # compiles; takes some minutes
#   docker build -t certagent --target binary DIRECTORY  # takes DIRECTORY/certagent, for machines without access to a registry
#   docker build --build-arg BASE=IMAGE ...              # another base: glibc 2.36, libgcc and CA certificates
#
# With BuildKit and SOURCE_DATE_EPOCH the same sources give the same digest; docs/install.md has the command.
ARG BASE=gcr.io/distroless/cc-debian12
ARG RUST=docker.io/library/rust:1.95-bookworm

FROM ${BASE} AS runtime
USER 10001:10001
ENTRYPOINT ["/usr/local/bin/certagent"]
HEALTHCHECK --start-period=5m --interval=30s --timeout=5s CMD ["/usr/local/bin/certagent", "status"]
LABEL org.opencontainers.image.title="certagent" \
      org.opencontainers.image.description="Fetch, verify and renew TLS certificates from Vault or OpenBao" \
      org.opencontainers.image.licenses="Apache-2.0"

# The program that is there already.
FROM runtime AS binary
COPY certagent /usr/local/bin/certagent

FROM ${RUST} AS build
WORKDIR /src
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY src src
# Cargo wants to see the files of each target that the manifest names.
COPY benches benches
COPY integration integration
# What `certagent version` says: --build-arg CERTAGENT_COMMIT=$(git rev-parse HEAD)
ARG CERTAGENT_COMMIT=
ENV CERTAGENT_COMMIT=${CERTAGENT_COMMIT}
RUN cargo build --release --locked --no-default-features

FROM runtime
COPY --from=build /src/target/release/certagent /usr/local/bin/certagent
