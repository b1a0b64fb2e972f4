"""Every block of every page holds: programs run and print what they show, commands exist.

The kinds of blocks and the list of those that are explained instead: `tests.documents`.
"""

import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest

from tests import documents
from tests.documents import (
    EXPLAINED,
    NEEDS_BROKER,
    NOT_PARSED,
    PAGES,
    ROOT,
    Page,
    command_lines,
    kind_of,
)
from tests.readme_table import differences

NEEDS_REGISTRY = {"avro.md"}  # Confluent's client, of the extra penstock[registry]


@pytest.mark.parametrize("file", PAGES, ids=documents.name)
def test_every_block_of_a_page_holds(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if file.name in NEEDS_REGISTRY and importlib.util.find_spec("httpx2") is None:
        pytest.skip("needs penstock[registry]")
    monkeypatch.delenv("PENSTOCK_BROKERS", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    page = documents.load(file)
    if file.name in NEEDS_BROKER:  # its programs run in tests/kafka/test_pages.py
        page.blocks = [block for block in page.blocks if kind_of(block) != "python"]
    assert page.check() == []


def test_blocks_are_found_whatever_they_are_written_as() -> None:
    """As many as a plain count of fences and of indented lines behind an empty one says."""
    for file in PAGES:
        text = file.read_text()
        found = documents.blocks(file.name, text)
        fenced = [block for block in found if block.language is not None]
        assert 2 * len(fenced) == len(re.findall(r"^ *```", text, re.M)), file.name
        assert not re.findall(r"^ *~~~|^\t|<pre>", text, re.M), "use ``` or four spaces"
        outside = re.sub(r"^( *)```.*?^ *```", "", text, flags=re.M | re.S)
        starts = re.findall(r"\n[ \t]*\n {4}(?! *[-*] )\S", outside)
        assert len(found) - len(fenced) <= len(starts), file.name
    kinds = Counter(kind_of(b) for f in PAGES for b in documents.blocks(f.name, f.read_text()))
    assert kinds["python"] > 10
    assert kinds["shell"] > 10


@pytest.mark.parametrize("file", PAGES, ids=documents.name)
def test_commands_in_the_prose_are_there(file: Path) -> None:
    text = file.read_text()
    assert documents.inline_faults(text) == []
    assert documents.stray_lines(text, documents.blocks(file.name, text)) == []


def test_a_command_in_the_prose_that_is_none_is_found_out() -> None:
    said = "Say `penstock lagg`, `penstock run --worker 2`, `make coffee` or `penstock dead-letters no`."
    assert len(documents.inline_faults(said)) == 4
    said = (
        "Say `penstock lag`, `penstock run shop.py --workers N`, `penstock --debug …`, `make test`."
    )
    assert documents.inline_faults(said) == []
    listed = "- an item\n\n      penstock lagg\n"
    assert documents.stray_lines(listed, documents.blocks("page.md", listed)) == [
        "      penstock lagg"
    ]


def test_pages_that_are_followed_elsewhere_are_there() -> None:
    for page, test in documents.FOLLOWED.items():
        if (ROOT / "docs" / page).exists():
            assert page in (ROOT / test).read_text() or "PAGE" in (ROOT / test).read_text()


def test_no_explanation_outlives_what_it_explains() -> None:
    every = [block for f in PAGES for block in documents.blocks(f.name, f.read_text())]
    assert set(EXPLAINED) - {block.first for block in every} == set()
    said = [
        line for block in every if kind_of(block) == "shell" for line in command_lines(block.text)
    ]
    unused = {start for start in NOT_PARSED if not any(line.startswith(start) for line in said)}
    assert unused == set()


FAULTS = {
    "a program that raises": "```python\nraise ValueError\n```",
    "a program with another output": "```python\nprint(1)\n```\n\n```\n2\n```",
    "an assertion that fails": "```python\nassert 1 == 2\n```",
    "a test that fails": "```python\ndef test_it() -> None:\n    assert False\n```",
    "an example with another result": "```pycon\n>>> 1 + 1\n3\n```",
    "a signature that is none": "```pyi\nrun(self -> None\n```",
    "a command that is none": "Text\n\n    penstock lagg shop",
    "an option that is none": "Text\n\n    penstock run shop.py --worker 2",
    "an argument that is missing": "```sh\npenstock lag\n```",
    "a second line that is wrong": "Text\n\n    penstock lag shop\n    penstock shop",
    "a continued line that is wrong": "Text\n\n    penstock lag shop \\\n        --jason",
    "a verb that the Makefile lacks": "Text\n\n    make coffee",
    "tests that are not there": "Text\n\n    make test ARGS=tests/nowhere",
    "a printf that writes nothing": "```sh\nprintf 'a\\tb\\n'\n```",
    "a pipe into a command that is none": "```sh\nprintf 'a' | penstock lagg\n```",
    "a pipe from a program that is none": "```sh\nwget a | penstock lag shop\n```",
    "another program": "```sh\nkafka-topics.sh --list\n```",
    "JSON that is none": "```json\n{\n```",
    "YAML that is none": "```yaml\na: [\n```",
    "a fence without a language": "Text\n\n```\nwhatever\n```",
    "a fence of another language": "```java\nclass A {}\n```",
    "an output of a command": "Text\n\n    penstock describe shop.py\n\n```\nwhatever\n```",
    "an output behind prose": "```python\nprint(1)\n```\n\nIt prints\n\n```\n1\n```",
    "a line of a log in another form": "Text\n\n    10:31:07 INFO worker-1: Task runs.",
    "an indented block of nothing known": "Text\n\n    whatever",
}


@pytest.mark.parametrize("text", FAULTS.values(), ids=FAULTS)
def test_a_page_with_a_fault_is_found_out(text: str) -> None:
    good = "# Page\n\n```python\nx = 1\nprint(x)\n```\n\n```\n1\n```\n\n    penstock lag shop  # fine\n    penstock lag shop --json | tail > lag.txt\n"
    assert Page("page.md", documents.blocks("page.md", good)).check() == []
    bad = f"{good}\nText.\n\n{text}\n"
    assert len(Page("page.md", documents.blocks("page.md", bad)).check()) == 1


@pytest.mark.parametrize("page", PAGES, ids=documents.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that exists, and a heading that it has."""
    links = re.findall(r"\]\(([^):]*?)(?:#([^)]*))?\)", page.read_text())
    assert [link for link, _ in links if not (page.parent / link).exists()] == []
    for link, anchor in links:
        if anchor:
            target = page.parent / link if link else page
            assert anchor in headings(target.read_text()), f"{link}#{anchor}"


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    kept = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {title.replace(" ", "-") for title in kept}


def test_every_page_is_reached_from_the_readme() -> None:
    reached, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^)#:]+)", page.read_text())
        ahead += [(page.parent / link).resolve() for link in links]
    assert {page.name for page in PAGES} - {page.name for page in reached} == set()


def test_the_readmes_table_is_the_benchmarks() -> None:
    readme, bench = (ROOT / "README.md").read_text(), (ROOT / "bench" / "README.md").read_text()
    assert differences(readme, bench) == []


@pytest.mark.parametrize(
    ("was", "told"),
    [
        ("| 489 k |", "| 490 k |"),
        ("| 2.9 |", "| 3.1 |"),
        ("187 · 172 · 227 · 217", "187 · 172 · 227 · 200"),
        ("0.55 · 0.52", "0.50 · 0.52"),
        ("p99, ms | 32 |", "p99, ms | 30 |"),
        ("0.2 · 0.4 · 0.8", "0.2 · 0.4 · 0.7"),
        ("| start to first commit, s | 0.4 | 2.0 | 0.23 |", "| start, s | 0.4 | 2.0 | 0.23 |"),
    ],
)
def test_a_figure_that_differs_is_found_out(was: str, told: str) -> None:
    readme, bench = (ROOT / "README.md").read_text(), (ROOT / "bench" / "README.md").read_text()
    assert was in readme
    assert differences(readme.replace(was, told), bench) != []
