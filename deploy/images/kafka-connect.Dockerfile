# Apache Kafka and Kafka Connect in one image, from Maven Central: the jars that deploy/images/kafka/pom.xml names, a Java
# to run them, and curl to ask Connect's REST API. What is run is the name of a Java class.
#
# Built by deploy/build-images, from jars in the folder prebuilt/libs of the context where there are some.

ARG DEBIAN=debian:bookworm-slim

FROM ${DEBIAN} AS java
# A base that has them already needs no packages.
RUN command -v java >/dev/null && command -v curl >/dev/null || \
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless curl ca-certificates && \
    rm -rf /var/lib/apt/lists/*; }

FROM java AS jars
WORKDIR /build
COPY . .
# Connect looks for its plugins in folders of their own.
RUN mkdir -p /out/libs /out/plugins/file && \
    if [ -d prebuilt/libs ]; then cp prebuilt/libs/*.jar /out/libs/; else \
        apt-get update -qq && apt-get install -y -qq --no-install-recommends maven && \
        mvn -q -B -f deploy/images/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory=/out/libs; \
    fi && \
    mv /out/libs/connect-file-*.jar /out/plugins/file/

FROM java
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="wigwag-kafka" \
      org.opencontainers.image.description="Apache Kafka and Kafka Connect, for Wigwag" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=jars /out /opt/kafka
ENV CLASSPATH=/opt/kafka/libs/*
USER 65532:65532
EXPOSE 8083 9092
ENTRYPOINT ["java"]
