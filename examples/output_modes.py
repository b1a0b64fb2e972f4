"""Count words in the three output modes, and see on the console how they differ.

It reads `timed-lines`, and prints to the console what each batch has committed:

    update    the words whose count the batch has changed
    complete  the first words of the whole table, after each batch that has changed it
    append    how many words a book had in a minute, once: when a later line has closed the minute

The counts have rows that may always change again, so there is no `append` of them; a topic takes
`update` and `append` alone. Batches are of at most a dozen records here, to have several.
"""

import re

import msgspec

import penstock as ps

WORD = re.compile(r"[a-z]+")


class Line(msgspec.Struct):
    at: int  # milliseconds since the epoch
    text: str


def words_of(line: Line) -> list[str]:
    return WORD.findall(line.text.lower())


app = ps.App("output-modes", settings=ps.Settings(commit=ps.CommitSettings(max_batch_records=12)))

words = app.stream("timed-lines", key=str, value=Line, timestamp="at").flat_map(words_of)

counts = words.group_by(lambda word: word, key=str, name="by-word").count(name="count-per-word")
counts.to_console()
counts.to_console(output_mode="complete", num_rows=10)

(
    words.group_by_key()
    .window(ps.tumbling("1m"))
    .count(name="words-per-minute")
    .to_console(output_mode="append", truncate=False)
)

if __name__ == "__main__":
    app.run()
