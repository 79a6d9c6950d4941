# The server in an image: one binary, a user of its own, data in the volume /data.
#
#   docker build -t antiphon .
#   docker run -p 127.0.0.1:8080:8080 -v antiphon-data:/data antiphon
#
# docker-compose.yml runs two of them on one Redis; docs/redis.md says more.

# Compiling needs a C compiler too (ring, the cryptography below TLS); this image has one.
FROM rust:1.90.0-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin antiphon

FROM debian:12.12-slim
# Certificates: for model servers and a Redis that are reached over TLS.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home antiphon \
 && install --directory --owner antiphon --group antiphon /data
COPY --from=build /src/target/release/antiphon /usr/local/bin/antiphon
USER antiphon
# An antiphon.toml that is put here is read.
WORKDIR /data
# Each node needs a volume of its own: index, snapshots, and posts that wait for a store that is away.
VOLUME /data
EXPOSE 8080
# The container's address is its own; who reaches it is decided where the port is published. There are no access tokens
# yet, so publish it on 127.0.0.1 or behind something that asks who is there.
ENTRYPOINT ["antiphon"]
CMD ["serve", "--data", "/data", "--listen", "0.0.0.0:8080", "--expose"]
# No HEALTHCHECK: the image has nothing to ask with. Ask /health/live (the process answers) and /health/ready (it takes
# posts into the log) from outside.
