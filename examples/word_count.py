"""Count words: a record becomes many, and each goes to the worker that has its word.

It reads lines from `lines` and writes counts to `words`. The lines have no key, so they lie in any
partition. `group_by` puts each word under a key of its own and sends it through the topic
`word-count-by-word-repartition`, which brings equal words into one partition. Penstock makes that
topic; `penstock describe word_count.py` shows it.
"""

import re

import penstock as ps

WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


def words(line: str) -> list[str]:
    """Take a line apart: "Oh dear! Oh dear!" has the words oh, dear, oh and dear."""
    return WORD.findall(line.lower())


app = ps.App("word-count")

(
    app.stream("lines", value=str)
    .flat_map(words)
    .group_by(lambda word: word, key=str, name="by-word")
    .count(name="count-per-word")
    .to("words")
)

if __name__ == "__main__":
    app.run()
