"""The import contracts fail closed: what is in no list is not allowed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# What the solver may import: numbers in, numbers out. Whatever else appears there has to be argued for here.
SOLVER_MAY_IMPORT = {"solver", "numpy", "scipy", "numba"} | {
    "skimage",  # the published Algorithm 1 denoises with its Chambolle step
    *("__future__", "collections", "dataclasses", "enum", "functools", "itertools", "math", "operator", "typing"),
    *("warnings", "concurrent", "os", "threading"),  # to run slices beside each other
    "difflib",  # to name the argument that was meant
    *(
        "hashlib",
        "importlib",
        "json",
    ),  # the learned weights of its package, and that they are whole
}


def top_level_imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


def test_the_solver_imports_nothing_but_what_it_is_allowed():
    imported = {name for path in (REPOSITORY / "solver").glob("*.py") for name in top_level_imports(path)}
    assert imported <= SOLVER_MAY_IMPORT


@pytest.fixture
def copy(tmp_path):
    """The sources beside their contracts, to be spoilt."""
    for name in ("dicomnode", "solver"):
        for path in (REPOSITORY / name).rglob("*.py"):
            target = tmp_path / path.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((REPOSITORY / "pyproject.toml").read_bytes())
    return tmp_path


def lint(folder):
    program = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    command = [sys.executable, "-c", program, "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env={"PYTHONPATH": "."})


@pytest.mark.parametrize(
    ("rogue", "content", "broken"),
    [
        ("dicomnode/rogue.py", "", "dicomnode.rogue"),
        ("dicomnode/store/rogue.py", "from dicomnode import node", "One direction"),
        ("dicomnode/jobs/rogue.py", "import pynetdicom", "pynetdicom only"),
        ("dicomnode/jobs/rogue.py", "import highdicom", "highdicom only"),
        ("dicomnode/jobs/rogue.py", "import sqlalchemy", "database only"),
        ("dicomnode/report/rogue.py", "import solver", "solver is reached"),
        ("dicomnode/operate/rogue.py", "import starlette", "only in web"),
    ],
)
def test_a_rogue_module_is_caught(copy, rogue, content, broken):
    (copy / rogue).write_text(content)
    done = lint(copy)
    assert done.returncode == 1
    assert broken in done.stdout.split("Broken contracts")[-1]
