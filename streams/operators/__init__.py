"""The operators, one per file: columns in, columns out. They know no broker and no disk."""
