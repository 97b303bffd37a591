# The simulator: its program and the libraries that it is linked to, nothing else; no shell, no package manager.
#
# Built by deploy/build-images, from the sources, or from the programs in the folder prebuilt/ of the context.

# Where it is compiled. Only a prebuilt program does without cargo in it.
ARG RUST=rust:1.95-bookworm

# What decides the dependencies, with empty sources. It stays the same, and so does the layer of dependencies, while only
# sources change.
FROM ${RUST} AS manifests
COPY . /context
RUN mkdir /manifests && cd /context && \
    find . \( -name Cargo.toml -o -name Cargo.lock -o -name rust-toolchain.toml -o -path '*/src/lib.rs' -o -path '*/src/main.rs' \
        -o -name build.rs -o -path '*/benches/*.rs' \) -exec cp --parents {} /manifests ';' && \
    find /manifests -name '*.rs' ! -name lib.rs -exec sh -c 'echo "fn main() {}" > "$1"' stub {} ';' && \
    find /manifests -name lib.rs -exec truncate --size 0 {} ';'

FROM ${RUST} AS build
WORKDIR /build
COPY --from=manifests /manifests .
RUN if [ -e Cargo.toml ]; then \
        rustup target add wasm32-wasip2 && cargo build --locked -p wigwag -p wigwag-generator; \
    fi
COPY . .
# Times of the sources may lie before those of the empty ones.
RUN mkdir /out && \
    if [ -e prebuilt/wigwag-generator ]; then cp prebuilt/wigwag-generator /out/; else \
        find . -name '*.rs' -exec touch {} + && cargo build --locked -p wigwag-generator && cp target/debug/wigwag-generator /out/; \
    fi

# The root folder: the program, what `ldd` says it needs, and the names that a numeric user goes by.
RUN mkdir -p /root-folder/usr/bin /root-folder/etc /root-folder/tmp && \
    strip -o /root-folder/usr/bin/wigwag-generator /out/wigwag-generator && \
    ldd /out/wigwag-generator | grep -oE '/[^ ]+\.so[^ ]*' | xargs -I '{}' cp --parents --dereference '{}' /root-folder && \
    echo 'wigwag:x:65532:65532::/tmp:/sbin/nologin' > /root-folder/etc/passwd && \
    echo 'wigwag:x:65532:' > /root-folder/etc/group && \
    if [ -e /etc/ssl/certs/ca-certificates.crt ]; then cp --parents --dereference /etc/ssl/certs/ca-certificates.crt /root-folder; fi && \
    chmod 1777 /root-folder/tmp

FROM scratch
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="wigwag-generator" \
      org.opencontainers.image.description="Simulates a market, or replays a recorded one, for Wigwag" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /root-folder /
ENV PATH=/usr/bin
USER 65532:65532
EXPOSE 5000
ENTRYPOINT ["/usr/bin/wigwag-generator"]
