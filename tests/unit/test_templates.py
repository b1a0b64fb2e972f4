"""Event templates: rows as a function of seed and row number, keys without parsing a row."""

import doctest
import json
import re
import string
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock.cli.events.templates
from penstock.cli.events.protocol import Due
from penstock.cli.events.templates import Template
from penstock.errors import TopologyError

VIEWS = (
    '{"user": "u{zipf:1000}", "page": "/p{choice:home,cart,checkout}", "at": {now_ms},'
    ' "n": {counter}, "ms": {uniform:1:250}, "id": "{uuid}"}'
)
RANDOM = ("{zipf:50}", "{zipf:9:0.5}", "{uniform:-5:5}", "{uniform:0:1000000}", "{float:-1:2.5}")
TEXTUAL = (
    *RANDOM,
    "{choice:home,cart,é😀}",
    "{counter:7}",
    "{now_ms}",
    "{uuid}",
    "{hex:11}",
    "{pad:5}",
)
NUMERIC = (*RANDOM, "{choice:1,-2.5,3e4}", "{counter:7}", "{now_ms}")
PINNED_KEYS = [b"u496", b"u9"]
PINNED_ROWS = [
    b'{"user": "u496", "page": "/pcart", "at": 1700000000000, "n": 0, "ms": 186,'
    b' "id": "8a57d70e-9040-4896-aedb-92fe50828082"}',
    b'{"user": "u9", "page": "/pcart", "at": 1700000000000, "n": 1, "ms": 19,'
    b' "id": "c08af4f5-9b16-4733-aa03-5fcf6eec9120"}',
]

seeds = st.integers(min_value=0, max_value=2**32)
plain_text = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]), max_size=5)


@st.composite
def string_fields(draw: st.DrawFn) -> str:
    """A JSON string of literals, escaped in either way, and placeholders."""
    literals = st.builds(
        lambda text, plain: json.dumps(text, ensure_ascii=plain)[1:-1], plain_text, st.booleans()
    )
    return '"' + "".join(draw(st.lists(literals | st.sampled_from(TEXTUAL), max_size=5))) + '"'


number_fields = st.sampled_from(NUMERIC) | st.sampled_from(["7", "-0.5", "1e3"])
other_fields = st.sampled_from(["null", "true", '{"deep": [{counter}, {}]}', '["{hex:3}"]'])
spaces = st.text(" \t\n", max_size=2)


@st.composite
def templates(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A JSON template and the fields that can be its key."""
    names = draw(st.lists(plain_text, min_size=1, max_size=4, unique=True))
    fields, keys = [], []
    for name in names:
        value = draw(string_fields() | number_fields | other_fields)
        if value[0] in '"-0123456789' or value in NUMERIC:
            keys.append(name)
        space = [draw(spaces) for _ in range(4)]
        fields.append(f"{space[0]}{json.dumps(name)}{space[1]}:{space[2]}{value}{space[3]}")
    return draw(spaces) + "{" + ",".join(fields) + "}", keys


@given(templates(), seeds)
def test_every_row_of_a_json_template_is_json(template, seed):
    """Whatever the placeholders draw, a row parses and has the template's fields."""
    rows = Template(template[0], seed).take(Due([1_700_000_000_000] * 20)).values
    assert len({tuple(json.loads(row)) for row in rows}) == 1


@given(templates(), seeds, st.data())
def test_the_key_is_the_field_that_a_parser_reads(template, seed, data):
    """The key's text is the parsed string; or, read as a number, the parsed number."""
    text, fields = template
    if not fields:
        return
    field = data.draw(st.sampled_from(fields))
    block = Template(text, seed, key=field).take(Due([1_700_000_000_000] * 20))
    for value, key in zip(block.values, block.keys, strict=True):
        parsed = json.loads(value)[field]
        assert parsed == (key.decode() if isinstance(parsed, str) else json.loads(key))


@given(templates(), seeds, st.lists(st.integers(0, 30), max_size=6))
def test_cuts_never_matter(template, seed, sizes):
    """Any cutting into blocks gives the same rows, so the same seed gives the same rows."""
    whole = Template(template[0], seed).take(Due([5] * sum(sizes))).values
    cut = Template(template[0], seed)
    assert [row for size in sizes for row in cut.take(Due([5] * size)).values] == whole


def test_late_events_say_so_themselves():
    """What is moved back in time has that time in its text."""
    rows = Template("{now_ms}/{counter}").take(Due([50, 50, 50], [0, 20, 0]))
    assert rows.values == [b"50/0", b"30/1", b"50/2"]
    assert rows.times == [50, 30, 50]


def test_seeds_differ():
    """Another seed gives other rows."""
    rows = [tuple(Template(VIEWS, seed).take(Due([0] * 10)).values) for seed in range(20)]
    assert len(set(rows)) == 20


def test_the_same_placeholder_twice_draws_twice():
    """Two placeholders of one form are independent of each other."""
    rows = Template("{uniform:1:1000000} {uniform:1:1000000}").take(Due([0] * 100)).values
    assert all(len(set(row.split())) == 2 for row in rows)


def test_a_seed_means_the_same_for_ever():
    """These rows are part of the interface: benchmarks and tests compare across versions."""
    block = Template(VIEWS, seed=1, key="user").take(Due([1_700_000_000_000] * 2))
    assert block.keys == PINNED_KEYS
    assert block.values == PINNED_ROWS


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_without_placeholders_is_literal(text):
    """Any brace that does not hold an identifier stands for itself."""
    if not re.search(r"\{[A-Za-z_]\w*(:[^{}]*)?\}", text):
        assert Template(text).take(Due([0] * 3)).values == [text.encode()] * 3


@pytest.mark.parametrize(
    "text", ["", "{}", "{ counter }", "{1}", '{"a": {}}', "{:}", "{a", "%s {}%d"]
)
def test_braces_that_are_literal(text):
    """Empty, spaced, quoted and unclosed braces are no placeholders."""
    assert Template(text).take(Due([0] * 1)).values == [text.encode()]


def column(text, rows=2_000):
    return [row.decode() for row in Template(text).take(Due([1_700_000_000_000] * rows)).values]


@pytest.mark.parametrize("count", [10, 200_000])
def test_zipf(count):
    """Ranks stay below N, and a smaller rank comes more often: 0 twice as often as 1."""
    drawn = [int(text) for text in column(f"{{zipf:{count}}}", 20_000)]
    assert min(drawn) == 0
    assert max(drawn) < count
    assert 1.6 < drawn.count(0) / drawn.count(1) < 2.4
    assert drawn.count(1) > drawn.count(5)


def test_zipf_exponent():
    """An exponent of 0 draws all ranks equally often."""
    drawn = column("{zipf:2:0}")
    assert 800 < drawn.count("0") < 1_200


@pytest.mark.parametrize(("low", "high"), [(-2, 2), (3, 3), (0, 300_000)])
def test_uniform(low, high):
    """Integers from A to B; of a small range, every one."""
    drawn = {int(text) for text in column(f"{{uniform:{low}:{high}}}")}
    assert drawn <= set(range(low, high + 1))
    assert drawn == set(range(low, high + 1)) or high - low > 100


def test_float():
    """Decimals from A to B, with six places and no exponent."""
    drawn = column("{float:-0.5:0.5}")
    assert all(re.fullmatch(r"-?0\.\d{6}", text) for text in drawn)
    assert min(map(float, drawn)) < -0.4
    assert max(map(float, drawn)) > 0.4


def test_choice():
    """Each of the texts and nothing else, spaces and colons included; one may be empty."""
    assert set(column("{choice:a, b,c:d,}")) == {"a", " b", "c:d", ""}


def test_counter():
    """Consecutive numbers, across blocks, from the start that is given."""
    template = Template("{counter:-2}")
    rows = template.take(Due([0] * 3)).values + template.take(Due([0] * 2)).values
    assert rows == [b"-2", b"-1", b"0", b"1", b"2"]


def test_now_ms():
    """The time that the block was asked for, in every row."""
    assert set(column("{now_ms}")) == {"1700000000000"}


def test_uuid():
    """Distinct version 4 UUIDs in their usual spelling."""
    drawn = column("{uuid}")
    assert len(set(drawn)) == len(drawn)
    assert all(str(uuid.UUID(text)) == text and uuid.UUID(text).version == 4 for text in drawn)
    assert {uuid.UUID(text).variant for text in drawn} == {uuid.RFC_4122}


@pytest.mark.parametrize("size", [1, 7, 8, 33])
def test_hex(size):
    """N hexadecimal digits, all of which occur."""
    drawn = column(f"{{hex:{size}}}")
    assert {len(text) for text in drawn} == {size}
    assert set("".join(drawn)) == set(string.hexdigits.lower())


def test_pad():
    """A filler of N characters, the same in every row; it may be empty."""
    assert set(column("{pad:4}")) == {"xxxx"}
    assert set(column("<{pad:0}>")) == {"<>"}


def test_row_bytes_is_the_size_of_a_row():
    """The size that blocks are cut by is that of a row, in bytes."""
    assert Template("é{pad:1000}").row_bytes == 1002


def test_an_unknown_placeholder_is_named_with_the_known_ones():
    """The error names the placeholder as written and the table."""
    with pytest.raises(TopologyError) as caught:
        Template('{"a": {foo:1}}')
    assert "{foo:1}" in str(caught.value)
    assert "{zipf:N[:s]}" in str(caught.value)
    assert "{pad:N}" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{foo}", "{zipf}", "{zipf:}", "{zipf:0}", "{zipf:1.5}", "{zipf:3:-1}", "{zipf:3:x}",
        "{zipf:3:1:1}", "{zipf:99999999999}", "{uniform:1}", "{uniform:2:1}", "{uniform:a:b}",
        "{uniform:0:99999999999999999999}", "{float:1}", "{float:2:1}", "{float:0:inf}",
        "{float:0:1e3}", "{choice}", "{choice:}", "{counter:x}", "{now_ms:1}", "{uuid:4}", "{hex}",
        "{hex:0}", "{hex:-1}", "{pad:2000000}", "{counter:\n}", "{__class__}", "\udc80",
    ],
)  # fmt: skip
def test_wrong_templates_are_refused(text):
    """Unknown names and arguments outside of the form are errors before a row is made."""
    with pytest.raises(TopologyError):
        Template(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "b": 2}', "a, b"),
        ("{}", "none"),
        ("plain", "A row of it reads: plain"),
        ('["key"]', "no object"),
        ('{"key": [1]}', "a string or a number"),
        ('{"key": null}', "a string or a number"),
        ('{"key": "{choice:a,b\\"}"}', "no plain text"),
        ('{"key": {choice:1,true}}', "number"),
        ('{"key": "\\u00{choice:41,42}"}', "cut in two"),
        ('{"key": {choice:"a","b"}}', "around the placeholder"),
        ('{"key": "{counter}', "A row of it reads"),
    ],
)
def test_wrong_keys_are_refused(text, reason):
    """A key is a string or number field of a JSON object, whatever its placeholders draw."""
    with pytest.raises(TopologyError, match=re.escape(reason)):
        Template(text, key="key")


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ('"u{counter:5}"', b"u5"),
        ('"\\u00e9\\n{counter:5}\\""', 'é\n5"'.encode()),
        ('"{choice:}{counter:5}"'.replace("{choice:}", "{pad:0}"), b"5"),
        ('"{counter:5}{pad:0}"', b"5"),
        ('""', b""),
        ("{counter:5}", b"5"),
        ("-{counter:5}.50", b"-5.50"),
        ("1e3", b"1e3"),
        ('"{counter:5}-{now_ms}"', b"5-9"),
    ],
)
def test_keys_are_the_text_of_the_field(value, key):
    """A string without quotes and escapes, a number as it is spelled; in UTF-8."""
    text = '{"key": "no", "other": {"key": {counter}}, "key" : ' + value + "\n}"
    assert Template(text, key="key").take(Due([9] * 1)).keys == [key]


def test_without_a_key_there_are_no_keys():
    """A template without a key makes none, and need not be JSON."""
    assert Template("n{counter}").take(Due([0] * 1)).keys is None


def test_doctest():
    """The example of the docstring is true."""
    assert doctest.testmod(penstock.cli.events.templates).failed == 0
