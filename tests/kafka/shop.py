"""The application of docs/troubleshooting.md: broken and corrected as the page says, and its words.

What it prints is compared with the page line by line. For that, whatever differs from run to run
is written as the page writes it: times, processes, the broker's address, folders, and the suffix
that keeps the topics of tests apart.
"""

import json
import re
import struct
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kafka import checking
from tests.kafka.feeding import BEGIN_MS, Row, feed
from tests.kafka.runs import Run
from tests.kafka.workers import WAIT_S

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
PARTITIONS = 4

# Names of topics and of the application, where the program has them.
_NAMED = re.compile(r'(App\(|stream\(|\.to\(|dead_letter\()"([\w-]+)"')


def headings() -> list[str]:
    """Return the titles of the page's sections."""
    return re.findall(r"^## (.*)$", PAGE, re.MULTILINE)


def section(title: str) -> str:
    """Return what stands under a heading of the page."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"the page has no section {title!r}"
    return found[1]


def program() -> str:
    """Return the application as the page shows it."""
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def shown(title: str) -> list[list[str]]:
    """Return the outputs that a section shows, line by line."""
    blocks = re.findall(r"```\n(.*?)```", section(title), re.DOTALL)
    return [_joined(block.splitlines()) for block in blocks]


def _joined(block: list[str]) -> list[str]:
    """Put lines of the log together again that the page breaks: it indents what follows."""
    lines: list[str] = []
    for line in block:
        if line.startswith("    ") and lines[-1].startswith("10:31:07.214"):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return lines


class Shop(Run):
    """The application under names of its own, in a folder of its own, as `penstock run` runs it.

    Args:
        servers: the cluster.
        folder: the current folder.
        options: as for `Run`.

    Attributes:
        title: the section of the page that it is about.
        compared: how many of the section's outputs were met.
        file: the program that is run.
        arguments: what else the command line says.
    """

    def __init__(self, servers: str, folder: Path, **options: Any) -> None:
        super().__init__(servers, folder, "shop", [], [], workers=0, **options)
        self.title, self.compared = "", 0
        self.suffix = self.id.removeprefix("shop")
        self.inputs = [f"orders{self.suffix}"]
        self.outputs = [f"accounts{self.suffix}", f"sold{self.suffix}"]
        self.folder = folder
        self.file = "shop.py"
        self.arguments: tuple[str, ...] = ()
        self.settings = ""
        self.write()

    def write(self, *edits: tuple[str, str], file: str = "shop.py") -> None:
        """Write the program, with some of its text replaced, and run that from now on."""
        text = program()
        for before, after in edits:
            assert text.count(before) == 1, f"{before!r} is not once in the program"
            text = text.replace(before, after)
        text = _NAMED.sub(lambda found: f'{found[1]}"{found[2]}{self.suffix}"', text)
        if self.settings:
            text = text.replace(f'App("{self.id}"', f'App("{self.id}", settings={self.settings}')
        (self.folder / file).write_text(text)
        self.file = file

    def configured(self, **kafka: int) -> None:
        """Write the program with shorter times."""
        given = ", ".join(f"{name}={value}" for name, value in kafka.items())
        self.settings = f"ps.Settings(kafka=ps.KafkaSettings({given}))"
        self.write()

    @contextmanager
    def beside(self) -> Iterator["Shop"]:
        """Let another program run as the same application, until the context ends."""
        other = Shop(self.servers, self.folder, id=self.id)
        other.title, other.settings = self.title, self.settings
        try:
            yield other
        finally:
            self.compared += other.compared
            other.close()

    def topic(self, name: str) -> str:
        return f"{name}{self.suffix}"

    def order(self, count: int = 100, *, first: int = 0) -> None:
        """Send orders of ten customers."""
        rows = [
            Row(f"customer-{n % 10}", json.dumps(_order(n)), BEGIN_MS + n)
            for n in range(first, first + count)
        ]
        feed(self.servers, self.inputs[0], rows)

    def poison(self) -> None:
        """Send what is no order, as the next record of partition 1."""
        feed(self.servers, self.inputs[0], [Row("customer-1", "no JSON", BEGIN_MS, partition=1)])

    # At work

    def runs_exactly(self) -> None:
        """Start, process all that is there, compare, stop, and compare again."""
        self.start()
        self.wait_exact()
        self.stop()
        assert self.is_exact(), "something came after the last record"

    def wait_exact(self) -> None:
        self.wait_until(self.is_exact, "the results are exact")

    def wait_left(self) -> None:
        """Wait until the group has no member: one that has ended counts for a session more."""
        deadline = time.monotonic() + WAIT_S
        while self._members():
            assert time.monotonic() < deadline, "its session does not end"
            time.sleep(0.1)

    def _members(self) -> Any:
        asked = checking.admin(self.servers).describe_consumer_groups([self.id])
        return asked[self.id].result().members

    def is_exact(self) -> bool:
        """Whether the outputs are what the orders make, by a recount."""
        accounts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        sold: Counter[str] = Counter()
        for record in checking.read(self.servers, *self.inputs).records:
            order = _decoded(record)
            if order is not None:
                accounts[record.key.decode()][0] += 1  # type: ignore[union-attr]
                accounts[record.key.decode()][1] += order["cents"]  # type: ignore[union-attr]
                sold[order["item"]] += 1
        found = checking.read(self.servers, *self.outputs).records
        values = {
            (r.topic.removesuffix(self.suffix), (r.key or b"").decode()): r.value for r in found
        }
        return values == {
            **{("accounts", key): _account(*sums) for key, sums in accounts.items()},
            **{("sold", item): struct.pack(">q", n) for item, n in sold.items()},
        }

    # What it says

    def check_says(self, *replaced: tuple[str, str]) -> None:
        """Compare with the next output of the section: each of its lines was printed, in order.

        Args:
            replaced: what the page writes in another way here.
        """
        said = self.normal(*replaced).splitlines()
        left = iter(said)
        for line in shown(self.title)[self.compared]:
            assert line in left, "\n".join(["The page shows", line, "and this was said:", *said])
        self.compared += 1

    def normal(self, *replaced: tuple[str, str]) -> str:
        """Return what was printed since the start, as the page writes it."""
        text = self.text()
        for before, after in (
            *replaced,
            (self.suffix, ""),
            (str(self.folder), "/home/ann/shop"),
            (sys.prefix, "/home/ann/venv"),
            (self.servers, "localhost:9092"),
        ):
            text = text.replace(before, after)
        text = re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "10:31:07.214", text)
        text = re.sub(r"process \d+", "process 4711", text)
        text = re.sub(r"OPTIONS-\d+", "OPTIONS-000007", text)
        return re.sub(r"shop-[0-9a-f]{8}\b", _numbered(), text)

    def _command(self, name: str, options: dict[str, Any]) -> list[str]:
        return [sys.executable, "-m", "penstock.cli", "run", self.file, *self.arguments]


def _order(number: int) -> dict[str, object]:
    item = ("tea", "cup", "pot")[number % 3]
    return {
        "customer": f"customer-{number % 10}",
        "item": item,
        "cents": 1 + number,
        "at": BEGIN_MS + number,
    }


def _decoded(record: checking.Record) -> Any:
    try:
        return json.loads(record.value or b"")
    except ValueError:
        return None


def _account(orders: int, cents: int) -> bytes:
    return b'{"orders":%d,"cents":%d}' % (orders, cents)


def _numbered() -> Any:
    """Write fingerprints as 00000001, 00000002, in the order in which they are met."""
    met: dict[str, str] = {}
    return lambda found: met.setdefault(found[0], f"shop-{len(met) + 1:08x}")
