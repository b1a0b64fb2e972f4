"""The programs of pages that need a broker run, one after the other, as a reader types them."""

import pytest

from tests import documents

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("name", sorted(documents.NEEDS_BROKER))
def test_the_programs_of_a_page_run(name: str) -> None:
    page = documents.load(documents.ROOT / "docs" / name)
    assert page.check() == []
    assert any("KafkaServer()" in block.text for block in page.blocks)
