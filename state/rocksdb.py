"""A store in RocksDB: one database per partition of a store.

Keys carry a first byte: 1 for data, 0 for what Penstock notes about the store, so that data
and changelog position stand in one column family and one WriteBatch, whatever bytes users
choose as keys. The write-ahead log is off: the changelog is the log, and a crash loses what
was not flushed together with the position that said it was there.

How the data is laid out has a number, which stands in the first byte of the position. A store of
another number is restored, never read.

rocksdict traps: raw mode must be set on the database and on every batch (the default mode
unpickles what it reads), iteration ends silently at a damaged block unless `status()` is
asked, an iterator over a snapshot shows what is written after it, too (only one that was made
before does not), and every error is a bare Exception with RocksDB's text.
"""

import re
import struct
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from rocksdict import (
    BlockBasedOptions,
    Cache,
    MemtableFactory,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from penstock.errors import StateError
from penstock.state.store import Position, Usage

_DATA, _POSITION, _ROWS = b"\x01", b"\x00position", b"\x00rows"
_FIXED = struct.Struct(">QQ")
_COUNTED = struct.Struct(">QQ")  # the offset at which the rows were counted, and how many
_END = b"\x02"
FORMAT = 0  # of what is written here; another one is for whoever changes the layout
_OFFSET_BITS = 56  # what is above them is the format: no changelog gets that long
DELETIONS = (10_000, 5_000, 0.5)  # in so many entries, how many, or as a share of a file
BLOOM_BITS = 10
BLOCK_BYTES = 16 * 1024
ARENA_BYTES = 64 * 1024


class RocksMemory:
    """The memory that all databases of a process share.

    Args:
        limit_bytes: for block caches and memtables together. Memtables may take half; the
            limit is soft, a burst over many databases can exceed it for a moment.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.cache = Cache(limit_bytes)
        self.buffers = WriteBufferManager.new_write_buffer_manager_with_cache(
            limit_bytes // 2, False, self.cache
        )
        self.memtable_bytes = min(64 * 1024 * 1024, limit_bytes // 4)

    def options(self, *, loading: bool = False) -> Options:
        """Return the options of one database, or of one that is only written to."""
        table = BlockBasedOptions()
        table.set_block_cache(self.cache)
        table.set_block_size(BLOCK_BYTES)
        table.set_bloom_filter(BLOOM_BITS, False)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(table)
        options.set_write_buffer_manager(self.buffers)
        options.set_write_buffer_size(self.memtable_bytes)
        # A memtable takes a whole one with its first key, 1 MB by default: of hundreds of stores
        # these would be all that there is, and each write would flush some other store.
        options.set_arena_block_size(ARENA_BYTES)
        options.set_keep_log_file_num(1)
        options.set_max_background_jobs(2)
        # Windows that have closed leave the disk soon, not when a level happens to be full.
        options.add_compact_on_deletion_collector_factory(*DELETIONS)
        if loading:
            # Sorted when it is full, not at each write: a restore takes 0.3 us per record
            # instead of 1.0 us, but reading would look at every entry.
            options.set_memtable_factory(MemtableFactory.vector())
            options.set_allow_concurrent_memtable_write(False)
        return options


class DamagedStore(StateError):
    """The files cannot be read: set the folder aside and restore the store.

    Attributes:
        reason: why not, in a few words.
    """

    reason = "its files are damaged"


class OtherFormat(DamagedStore):
    """The files are of another version of Penstock, or of RocksDB."""

    reason = "another version of Penstock has written it, in a format of its own"


class RocksStore:
    """A database in a folder that nobody else has open.

    Damage that shows only while the store is in use is noted in its folder, or the next start
    would open it and fail again.

    Raises:
        DamagedStore: if the files are damaged.
        OtherFormat: if they are of another format.
        StateError: if the folder is locked, or cannot be written.
    """

    def __init__(self, path: Path, memory: RocksMemory) -> None:
        self._path = path
        with _as_state_error(path):
            is_damaged = (path / _NOTE).exists()
        if is_damaged:
            raise DamagedStore(f"The store in {path} was found to be damaged by an earlier run.")
        self._memory = memory
        self._db = self._open()

    def load(self) -> None:
        """Make it fast to write and slow to read, for a restore of many records."""
        self.close()
        self._db = self._open(loading=True)

    def loaded(self) -> None:
        """Flush what was written since `load`, and make the store fit for reading again."""
        self.close()
        self._db = self._open()

    def _open(self, *, loading: bool = False) -> Rdict:
        with _as_state_error(self._path, opening=True):
            options = self._memory.options(loading=loading)
            # Without column_families an existing database keeps the options that it had.
            db = Rdict(str(self._path), options, column_families={"default": options})
            write = WriteOptions()
            write.disable_wal = True  # type: ignore[method-assign, assignment]
            write.memtable_insert_hint_per_batch = not loading
            db.set_write_options(write)
            return db

    def get_all(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of the keys in their order, None where there is none."""
        with _as_state_error(self._path):
            found: Any = self._db.get([_DATA + key for key in keys])
        return cast("list[bytes | None]", found)

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs in the order of keys, from start, before stop.

        Raises:
            StateError: if a block is damaged; what was yielded before is right.
        """
        read = ReadOptions()
        read.set_iterate_upper_bound(_END if stop is None else _DATA + stop)
        with _as_state_error(self._path):
            cursor = self._db.iter(read)
            cursor.seek(_DATA + start)
            while cursor.valid():
                yield cursor.key()[1:], cursor.value()
                cursor.next()
            cursor.status()

    def last(self) -> bytes | None:
        """Return the last key in their order; None where there is none."""
        with _as_state_error(self._path):
            cursor = self._db.iter(ReadOptions())
            cursor.seek_for_prev(_END)
            if not cursor.valid():
                cursor.status()
                return None
            key: bytes = cursor.key()
        return key[1:] if key.startswith(_DATA) else None

    def view(self) -> "RocksView":
        """Return what there is now: 1 us. The files stay in use until it is closed."""
        read = ReadOptions()
        read.set_iterate_upper_bound(_END)
        with _as_state_error(self._path):
            return RocksView(self._path, self._db.iter(read))

    def write(self, items: Iterable[tuple[bytes, bytes | None]], position: Position) -> None:
        """Put the pairs, delete those with None, and move to the position: all or nothing."""
        batch = WriteBatch(raw_mode=True)
        put, data = batch.put, _DATA
        for key, value in items:
            if value is None:
                batch.delete(data + key)
            else:
                put(data + key, value)
        put(_POSITION, _encode(position))
        if position.rows is not None:
            put(_ROWS, _COUNTED.pack(position.offset, position.rows))
        with _as_state_error(self._path):
            self._db.write(batch)

    def position(self) -> Position | None:
        """Return the position of the last write, None for a store that was never written."""
        with _as_state_error(self._path):
            data, rows = self._db.get(_POSITION), self._db.get(_ROWS)
        if data and data[0] != FORMAT:
            raise OtherFormat(
                f"The store in {self._path} is of format {data[0]}; this version of Penstock reads"
                f" and writes format {FORMAT}."
            )
        try:
            return None if data is None else _decode(data, rows)
        except (struct.error, UnicodeDecodeError) as error:
            raise DamagedStore(f"The store in {self._path} does not say where it is.") from error

    def usage(self) -> Usage:
        """Return what RocksDB says of its keys, its memtables and its files."""
        with _as_state_error(self._path):
            rows, memory, disk = map(self._db.property_int_value, _USAGE)
        return Usage(rows or 0, memory or 0, disk or 0)

    def flush(self) -> None:
        """Write the memtable to disk; what was written before survives a crash."""
        with _as_state_error(self._path):
            self._db.flush()

    def close(self) -> None:
        """Flush and release the files."""
        with _as_state_error(self._path):
            try:
                self._db.flush()
            finally:
                self._db.close()


class RocksView:
    """What a database held at one moment.

    An open one keeps the database open behind its own `close`, with its lock.

    Args:
        path: of the database.
        cursor: made in that moment. It shows that one, however often it is moved.
    """

    def __init__(self, path: Path, cursor: RdictIter) -> None:
        self._path = path
        # Whoever holds it holds the files: nobody else may.
        self._cursor: RdictIter | None = cursor
        self._turn: object = None

    def get_all(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of the keys in their order, None where there is none."""
        self._look()
        return [next((data for _, data in self.scan(of, of + b"\0")), None) for of in keys]

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs in the order of keys, from start, before stop.

        Raises:
            StateError: if a block is damaged; what was yielded before is right.
        """
        self._look()
        return self._rows(_DATA + start, _END if stop is None else _DATA + stop)

    def close(self) -> None:
        """Let go of the files."""
        self._cursor = None

    def _rows(self, at: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        mine = object()
        with _as_state_error(self._path):
            while self._cursor is not None:
                if self._turn is mine:
                    self._cursor.next()
                else:  # another scan has moved it
                    self._turn = mine
                    self._cursor.seek(at)
                if not self._cursor.valid():
                    self._cursor.status()
                    return
                key = self._cursor.key()
                if key >= end:
                    return
                at = key + b"\0"
                yield key[1:], self._cursor.value()

    def _look(self) -> None:
        if self._cursor is None:
            raise StateError(f"The view of the store in {self._path} was closed. Use another one.")


def is_our_file(name: str) -> bool:
    """Whether a file in a store's folder can be one that RocksDB, or this module, has made."""
    return _FILES.fullmatch(name) is not None


def _encode(position: Position) -> bytes:
    offset = FORMAT << _OFFSET_BITS | position.offset
    return _FIXED.pack(offset, position.written_ms) + position.topic_id.encode()


def _decode(data: bytes, counted: bytes | None) -> Position:
    offset, written_ms = _FIXED.unpack_from(data)
    offset &= (1 << _OFFSET_BITS) - 1
    counted_at, rows = _COUNTED.unpack(counted) if counted else (-1, 0)
    # A count that an earlier version has left behind is of another offset.
    known = rows if counted_at == offset else None
    return Position(offset, data[_FIXED.size :].decode(), written_ms, known)


_USAGE = (
    "rocksdb.estimate-num-keys",
    "rocksdb.cur-size-all-mem-tables",
    "rocksdb.total-sst-files-size",
)
# RocksDB's words for files that are damaged, or gone, and for what it does not know.
_DAMAGE = ("Corruption", "No such file or directory")
_UNKNOWN = ("Invalid argument", "Not implemented")
_NOTE = "DAMAGED"
_FILES = re.compile(
    rf"{_NOTE}|CURRENT|IDENTITY|LOCK|LOG(\.old\.\d+)?|(MANIFEST|OPTIONS)-\d+|"
    r"\d+\.(sst|log|dbtmp)|rocksdict-config\.json"
)
_FULL = (
    "the disk is full, or a limit of it is reached (a quota, ulimit -f); free space and start"
    " again, nothing committed is lost"
)
_REFUSED = (
    "this user may not write there; give this user the folder, or choose another one:"
    " App(..., state_dir=...)"
)
TOO_MANY_FILES = (
    "this process may open no more files; raise its limit (ulimit -n, LimitNOFILE= of systemd) to"
    " 20 for each partition of a store that it may have, and start again, nothing committed is lost"
)
_ADVICE = (
    ("Too many open files", TOO_MANY_FILES),
    *((sign, "the files are damaged; they are set aside and restored") for sign in _DAMAGE),
    *((sign, _REFUSED) for sign in ("Permission denied", "not permitted", "Read-only file system")),
    ("File exists", "something else is in its place; move it away, and start again"),
    ("LOCK", "another process has it open; stop that process"),
    *((sign, _FULL) for sign in ("No space left", "File too large", "quota exceeded")),
    ("IO error", "the disk refuses; check it and start again, nothing committed is lost"),
)


@contextmanager
def _as_state_error(path: Path, *, opening: bool = False) -> Generator[None]:
    try:
        yield
    except GeneratorExit:
        raise
    except Exception as error:
        text = str(error)
        said = text.replace(str(path), "")  # names of folders are no signs
        advice = next((f" {advice}." for sign, advice in _ADVICE if sign in said), "")
        kind = _kind(said, opening=opening)
        if kind is DamagedStore:
            with suppress(OSError):  # the folder itself may be gone, or the disk full
                (path / _NOTE).touch()
        raise kind(f"The store in {path} failed:{advice} RocksDB says: {text}.") from error


def _kind(said: str, *, opening: bool) -> type[StateError]:
    if any(sign in said for sign in _DAMAGE):
        return DamagedStore
    return OtherFormat if opening and any(sign in said for sign in _UNKNOWN) else StateError
