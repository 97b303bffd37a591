//! The log on Apache Kafka. The only file that says `rdkafka`.
