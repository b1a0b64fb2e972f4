"""The pure core: tasks, batches and transactions as values and state machines.

Nothing here reads a clock, starts a thread, logs, or talks to Kafka or RocksDB: the engine
takes events and returns commands, and the runtime performs them.
"""
