"""What makes the engine run: the worker's loop, the Kafka clients, clocks and settings."""
