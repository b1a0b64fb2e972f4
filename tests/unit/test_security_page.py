"""SECURITY.md: what is trusted, who to tell, which versions; and its program prints what it says."""

import io
import re
from contextlib import redirect_stdout

import pytest

from penstock.runtime.transport import WEAK
from penstock.secret import LEAST_LENGTH
from penstock.state.definition import MAX_NAME
from penstock.version import __version__
from tests.installed import ROOT

PAGE = (ROOT / "SECURITY.md").read_text()


@pytest.mark.parametrize(
    ("part", "trusted"),
    [
        ("application's code", "yes"),
        ("in topics", "no"),
        ("schema registry", "no"),
        ("state folder", "no"),
        ("HTTP clients", "no"),
    ],
)
def test_the_boundary_of_trust_is_drawn(part: str, trusted: str) -> None:
    (row,) = [row for row in PAGE.splitlines() if row.startswith("|") and part in row]
    assert row.split("|")[2].strip() == trusted


def test_reports_go_by_a_private_way_and_no_address_is_made_up() -> None:
    assert "in private, through the security advisories" in PAGE
    assert re.findall(r"[\w.]+@[\w.]+\.\w+|https?://\S+", PAGE) == []


def test_the_supported_version_is_this_one() -> None:
    minor = ".".join(__version__.split(".")[:2])
    assert f"| the latest minor one, {minor} | yes |" in PAGE


def test_what_it_says_is_so() -> None:
    assert f"{MAX_NAME} characters" in PAGE
    assert LEAST_LENGTH == 6
    assert "shorter than six characters" in PAGE
    for name, values, _ in WEAK:
        assert f"{name}={values[0]}" in PAGE


def test_its_program_prints_what_stands_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "swordfish")
    program, shown = re.findall(r"```(?:python)?\n(.*?)```", PAGE, re.DOTALL)
    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile(program, "SECURITY.md", "exec"), {"__name__": "shop"})
    assert said.getvalue().strip() == shown.strip()


def test_the_readme_links_it_and_its_own_links_lead_somewhere() -> None:
    assert "](SECURITY.md)" in (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)(?:#([^)]*))?\)", PAGE)
    assert links
    for page, anchor in links:
        titles = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
        named = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
        assert not anchor or anchor in named, (page, anchor)
