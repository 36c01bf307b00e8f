"""Manual pages and completions, read by the programs that they are for."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bench.reference import completion, man
from bench.reference.example import EXAMPLE
from bench.reference.keys import tables
from dicomnode.cli import COMMANDS, main

PAGES = man.pages(tables(EXAMPLE.read_text()))


def test_every_command_and_every_option_has_its_place():
    top = click.Context(main)
    for name in COMMANDS:
        page = PAGES[f"dicomnode-{name}.1"].replace("\\-", "-")
        for parameter in main.get_command(top, name).params:
            assert all(option in page for option in parameter.opts if option.startswith("-")), (name, parameter)


def test_every_key_is_in_the_page_of_the_file():
    page = PAGES["dicomnode.toml.5"].splitlines()
    for table in tables(EXAMPLE.read_text()):
        assert f'.SH "{table.head}"' in page
        for key in table.keys:
            assert f'.B "{key.name}"' in page


@pytest.mark.peer
@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_without_a_warning(name, peer, tmp_path):
    (tmp_path / name).write_text(PAGES[name])
    command = [peer("groff"), "-man", "-ww", "-Tutf8", "-Kutf8", tmp_path / name]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    assert f"{Path(name).stem.upper()}({name[-1]})" in shown.stdout


@pytest.mark.peer
def test_bash_completes_a_command_and_its_options(peer, tmp_path):
    (tmp_path / "dicomnode.bash").write_text(completion.scripts()["dicomnode.bash"])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def completed(*words):
        script = f"source {tmp_path}/dicomnode.bash; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        script += "_dicomnode_completion dicomnode; echo ${COMPREPLY[@]}"
        done = subprocess.run(
            [peer("bash"), "-c", script], capture_output=True, text=True, env={"PATH": path}, check=True
        )
        return done.stdout.split()

    assert completed("dicomnode", "st") == ["status"]
    assert completed("dicomnode", "''") == list(COMMANDS)
    assert "--anyway" in completed("dicomnode", "retry", "--")


def test_naming_the_commands_to_a_shell_loads_none_of_them():
    code = "import sys; from dicomnode.cli import main; import click; main.shell_complete(click.Context(main), ''); "
    code += "sys.exit(any(name.startswith('dicomnode.cli.') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_shell_has_a_script_that_asks_the_program():
    scripts = completion.scripts()
    assert scripts.keys() == {"dicomnode.bash", "_dicomnode", "dicomnode.fish"}
    assert all("_DICOMNODE_COMPLETE=" in script for script in scripts.values())
