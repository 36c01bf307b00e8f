"""Figures in the documents are those of the record; what is in neither is found."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from bench.validation import documents, record
from bench.validation.__main__ import REPOSITORY, all_faults, names, run_again, tables_in
from bench.validation.record import Record, Run, Unknown

TABLE = ("| livers | given | error % |", "|---|---|---|", "| all | 88% | 0.8 / 3.0 |")
RUN = Run(
    command="python -m bench.liver",
    date="2026-01-01",
    commit="abc",
    machine="2 cores",
    figures={
        "given": {"table": "Livers", "row": "all", "column": "given"},
        "tail": {"table": "Livers", "row": "all", "column": "error %", "part": 1, "unit": " %"},
        "size": "1.8 MB",
    },
    tables={"Livers": TABLE},
)
RECORD = Record({"liver": RUN}, {"a.md": ("at least 90 %",)})


def test_every_figure_of_the_documents_is_in_the_record():
    done = subprocess.run(
        [sys.executable, "-m", "bench.validation", "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_run_says_how_when_of_what_and_where():
    for name, run in record.read().runs.items():
        assert all((run.command, run.date, run.commit, run.machine)), name
        assert run.figures or run.tables, name


def test_no_document_of_the_repository_is_left_out_but_those_that_are_made_whole():
    assert {"README.md", "docs/validation.md", "docs/liver.md", "docs/reliability.md", "docs/solver.md"} <= set(names())


def test_a_marked_figure_gets_the_value_of_the_record():
    text = 'In [70 %](validation.md#liver "given"), [2 GB](docs/validation.md#liver "size"), [9](#liver "tail").'
    filled = (
        'In [88 %](validation.md#liver "given"), [1.8 MB](docs/validation.md#liver "size"), [3.0 %](#liver "tail").'
    )
    assert documents.filled(text, RECORD) == filled


def test_a_value_that_a_line_ends_in_stays_as_it_is_wrapped():
    text = 'takes [1.8\nMB](validation.md#liver "size")'
    assert documents.filled(text, RECORD) == text


def test_a_marked_table_is_that_of_the_record():
    text = "a\n\n<!-- record: liver, Livers -->\n| old |\n<!-- /record -->\nb"
    assert documents.filled(text, RECORD) == "\n".join(
        ["a", "", "<!-- record: liver, Livers -->", *TABLE, "<!-- /record -->", "b"]
    )


@pytest.mark.parametrize(
    "text",
    [
        '[1 %](validation.md#spleen "given")',
        '[1 %](validation.md#liver "taken")',
        "<!-- record: liver, Kidneys -->\n<!-- /record -->",
    ],
)
def test_what_the_record_lacks_is_an_error(text):
    with pytest.raises(Unknown):
        documents.filled(text, RECORD)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It takes\n2.5 s here", [(2, "2.5 s")]),
        ("| a | b |\n|---|---|\n| x | 97 % |", [(3, "97 %")]),
        ("mean Dice 0.941", [(1, "0.941")]),
        ("1.1 to 2.1 times as fast", [(1, "1.1 to 2.1 times")]),
        ("goes on at 1,000 images a second", [(1, "1,000 images")]),
    ],
)
def test_a_figure_that_is_not_marked_is_found(text, found):
    assert list(documents.unmarked(text, ())) == found


@pytest.mark.parametrize(
    "text",
    [
        'takes [2.5 s](validation.md#liver "size")',
        "<!-- record: liver, Livers -->\n| 97 % |\n<!-- /record -->",
        "`--wait 2.5 s`",
        "```\ntook 2.5 s\n```",
        "at 1.5 T, slices of 8 mm, 5.0 mg/g, three of 40 livers",
        "see [the tables](figures/a-2.5.png)",
    ],
)
def test_what_is_marked_or_no_figure_is_not_found(text):
    assert list(documents.unmarked(text, ())) == []


def test_a_phrase_that_is_no_measurement_holds_for_itself_alone():
    text = "at least\n90 % of it liver; measured in 90 %"
    assert list(documents.unmarked(text, RECORD.no_measurements["a.md"])) == [(2, "90 %")]


def test_what_is_recorded_and_nowhere_stated_is_named():
    texts = {"a.md": '[88 %](validation.md#liver "given")[1](validation.md#liver "tail")'}
    faults = "\n".join(all_faults(texts, RECORD))
    assert "figure 'size'" in faults
    assert "table 'Livers'" in faults
    assert "'given'" not in faults


def test_a_command_that_is_run_again_gives_its_tables_date_and_commit(tmp_path):
    printed = "\n".join(["**Livers**", "", *TABLE[:2], "| all | 91% | 0.7 / 2.0 |", ""])
    program = tmp_path / "measure.py"
    program.write_text(f"print({printed!r})")
    before = Record({"liver": dataclasses.replace(RUN, command=f"python {program}")}, {})
    after = run_again("liver", before).runs["liver"]
    assert (after.figure("given"), after.figure("tail"), after.figure("size")) == ("91 %", "2.0 %", "1.8 MB")
    assert after.date != RUN.date
    assert after.commit != RUN.commit
    assert "cores" in after.machine


def test_a_command_that_prints_another_table_changes_nothing(tmp_path):
    program = tmp_path / "measure.py"
    program.write_text("print('**Kidneys**\\n\\n| a |\\n|---|\\n| 1 |')")
    with pytest.raises(Unknown, match="Livers"):
        run_again("liver", Record({"liver": dataclasses.replace(RUN, command=f"python {program}")}, {}))


def test_tables_are_known_by_their_caption_or_their_heads():
    found = tables_in("**One**\n\n| a |\n|---|\n| 1 |\n\n| b | c |\n|---|---|\n| 2 | 3 |\n")
    assert {name: lines[-1] for name, lines in found.items()} == {"One": "| 1 |", "b, c": "| 2 | 3 |"}


def test_the_record_survives_being_written(tmp_path):
    record.write(RECORD, tmp_path / "record.json")
    assert record.read(tmp_path / "record.json") == RECORD
    record.write(record.read(), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == Path(record.FILE).read_text()
