"""Bytes that nobody should decode, and what becomes of them in a process of small memory.

Run as a program, it decodes one of them, guarded or by fastavro alone, and prints the outcome.
"""

import resource
import sys
from io import BytesIO
from typing import Any

import fastavro

from penstock.serde.avro_serde import avro

MEMORY = 400 * 1024 * 1024

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {"name": "note", "type": ["null", "string"]},
        {"name": "lines", "type": {"type": "array", "items": "long"}},
    ],
}
NESTED = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}
ENDLESS = {"type": "record", "name": "E", "fields": [{"name": "e", "type": "E"}]}
EMPTY = {"type": "record", "name": "Empty", "fields": []}
WIDE = {
    "type": "record",
    "name": "Wide",
    "fields": [
        {"name": "b", "type": "boolean"},
        *({"name": f"n{at}", "type": "null"} for at in range(100)),
    ],
}
BILLION = b"\x80\xa8\xd6\xb9\x07"  # 10^9


def array(items: Any) -> Any:
    return {"type": "array", "items": items}


def long(value: int) -> bytes:
    target = BytesIO()
    fastavro.schemaless_writer(target, "long", value)
    return target.getvalue()


# A valid order: id "a", kind B, note "b", lines 1 and 2.
VALID = b"\x02a\x02\x02\x02b\x04\x02\x04\x00"
POISON: dict[str, tuple[Any, bytes]] = {
    "8 kB of nested unions": (NESTED, b"\x02" * 8_000 + b"\x00"),
    "a megabyte of nested unions": (NESTED, b"\x02" * 1_000_000 + b"\x00"),
    "a record in itself without end": (ENDLESS, b""),
    "nested arrays": ({**NESTED, "fields": [{"name": "n", "type": array("N")}]}, b"\x02" * 8_000),
    "10^9 nulls": (array("null"), BILLION + b"\x00"),
    "10^9 nulls in a block with a size": (array("null"), long(-(10**9)) + b"\x00\x00"),
    "10^9 empty records": (array(EMPTY), BILLION + b"\x00"),
    "10^9 fixed of no bytes": (
        array({"type": "fixed", "name": "F", "size": 0}),
        BILLION + b"\x00",
    ),
    "10^9 longs, and none there": (array("long"), BILLION),
    "10^9 entries, and none there": ({"type": "map", "values": "null"}, BILLION),
    "2^63 items": (array("long"), long(-(2**63))),
    "50,000 items of 100 nulls": (array(WIDE), long(50_000) + b"\x01" * 50_000 + b"\x00"),
    "a string of 2^62 bytes": ("string", long(2**62)),
    "a string of -5 bytes": ("string", long(-5) + b"abcde"),
    "17 MB of bytes": ("bytes", long(17 * 2**20) + bytes(17 * 2**20)),
    "a decimal of a megabyte": (
        {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 0},
        long(2**20) + b"\x01" * 2**20,
    ),
    "an integer that does not end": ("long", b"\xff" * 40),
    "an unknown branch": (ORDER, b"\x02a\x00\x04\x00"),
    "an unknown symbol": (ORDER, b"\x02a\x04\x00\x00"),
    "no UTF-8": ("string", b"\x02\xff"),
    "no bytes": (ORDER, b""),
    "one byte more": (ORDER, VALID + b"\x00"),
    **{f"cut after {at} bytes": (ORDER, VALID[:at]) for at in range(1, len(VALID))},
}


def outcome(name: str, guarded: bool) -> str:
    schema, data = POISON[name]
    try:
        if guarded:
            avro(schema).decode(data)
        else:
            fastavro.schemaless_reader(BytesIO(data), schema, None)
    except Exception as error:  # noqa: BLE001 - fastavro raises what it likes
        return type(error).__name__
    return "decoded"


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for poison in sys.argv[2:] or POISON:
        print(poison, outcome(poison, sys.argv[1] == "guarded"), sep="\t", flush=True)
