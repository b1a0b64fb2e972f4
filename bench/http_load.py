"""Questions about a table over HTTP, from a process of its own: python -m bench.http_load.

Asks for keys in turn over connections that are kept, at a rate that does not wait for answers
to come first, and prints how many were answered and how long they took, as JSON. A question
that has to wait for a free connection counts from when it was due.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter

from bench.pacer import key


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> int:
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def run(
    port: int, store: str, keys: int, rate: int, seconds: float, connections: int
) -> None:
    due: asyncio.Queue[tuple[int, float] | None] = asyncio.Queue()
    took: list[float] = []
    codes: Counter[int] = Counter()

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (turn := await due.get()) is not None:
            number, at = turn
            codes[await ask(reader, writer, f"/stores/{store}/{key(number % keys)}")] += 1
            took.append(time.monotonic() - at)
        writer.close()

    workers = [asyncio.create_task(work()) for _ in range(connections)]
    began = time.monotonic()
    sent = 0
    while sent < rate * seconds:
        now = time.monotonic()
        while sent < rate * seconds and began + sent / rate <= now:
            due.put_nowait((sent, began + sent / rate))
            sent += 1
        await asyncio.sleep(0.001)
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)
    lasted = time.monotonic() - began
    cuts = statistics.quantiles(took, n=1000)
    print(
        json.dumps(
            {
                "answers/s": len(took) / lasted,
                "p50 ms": cuts[499] * 1000,
                "p99 ms": cuts[989] * 1000,
                "max ms": max(took) * 1000,
                "codes": codes,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.http_load")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", default="counts")
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=2_000, help="questions per second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    asyncio.run(
        run(
            options.port,
            options.store,
            options.keys,
            options.rate,
            options.seconds,
            options.connections,
        )
    )


if __name__ == "__main__":
    main()
