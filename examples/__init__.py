"""Programs to copy, each with its events beside it: `penstock example` lists and runs them.

`NAME.tsv` holds what `NAME.py` reads: a record per line, key and value with a tab between, or a
value alone.
"""
