"""What is made from the schema, the example and the commands."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench.reference.example import EXAMPLE, sentences
from bench.reference.keys import as_toml, tables

REPOSITORY = Path(__file__).parents[3]
FILE = """\
# Of the file.

# Before the table.
[first]
# Of one.
one = 1
two = 2     # of two
three = 3   # its own,
            # in two lines

# Of the table.
four = 4    # own

# Before the inner.
# [[first.inner]]
# five = 5  # of one that is commented out
"""


def test_the_reference_is_that_of_the_schema_and_the_example():
    command = [sys.executable, "-m", "bench.reference", "--check"]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == 0, "run `make reference`"


def test_a_sentence_belongs_to_the_key_beside_it():
    said = sentences(FILE)
    assert said["first"].keys == {
        "one": ["Of one."],
        "two": ["of two"],
        "three": ["its own,", "in two lines"],
        "four": ["own"],
    }
    assert said["first.inner"].keys == {"five": ["of one that is commented out"]}
    assert said["first.inner"].about == ["Before the inner."]
    assert "Of the table." in said["first"].about


def test_a_key_that_the_example_does_not_explain_is_named():
    bare = EXAMPLE.read_text().replace("# between looks into the queue", "")
    with pytest.raises(ValueError, match=r"nothing of \[engine\] poll_seconds"):
        tables(bare)


def test_the_example_shows_the_defaults():
    shown = tomllib.loads(EXAMPLE.read_text())
    for table in tables(EXAMPLE.read_text()):
        values = shown.get(table.name, {})
        for key in table.keys:
            value = (values[0] if isinstance(values, list) else values).get(key.name)
            if value is not None and key.default not in ("needed", "not set"):
                assert as_toml(value) == key.default, f"{table.head} {key.name}"
