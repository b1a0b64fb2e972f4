"""The benchmark: Penstock beside Kafka Streams, on one broker, in one run. See README.md."""
