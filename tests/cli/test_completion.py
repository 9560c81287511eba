"""Completions of shells and the man page are made from the parser, by shtab and argparse-manpage."""

import subprocess
import sys
from pathlib import Path

import livecaption

ROOT = Path(livecaption.__file__).parent.parent

TRY = """
source /dev/stdin
complete_words() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
    _shtab_livecaption 2>/dev/null; echo "${COMPREPLY[*]}"
}
complete_words livecaption se
complete_words livecaption serve --tls-
complete_words livecaption serve --engine s
complete_words livecaption transcribe README
complete_words livecaption serve --config pyproj
"""


def output(*command: str | Path, given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


def test_the_documented_commands_make_the_directories_into_which_they_write() -> None:
    lines = (ROOT / "docs" / "operating.md").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("shtab "))
    commands = lines[lines.index("```console", start - 3) + 1 : lines.index("```", start)]
    made, written = [], []
    for command in commands:
        made += command.removeprefix("mkdir -p ").split() if command.startswith("mkdir ") else []
        written += [str(Path(command.split(" > ")[1]).parent)] if " > " in command else []
    assert made == written
    assert len(made) == 2


def test_bash_completes_commands_options_choices_and_files() -> None:
    script = output(
        *(sys.executable, "-m", "shtab", "--shell", "bash", "--prog", "livecaption"),
        "livecaption.cli.completion.parser",
    )
    assert output("bash", "-c", TRY, given=script).splitlines() == [
        "serve",
        "--tls-cert --tls-key --tls-self-signed",
        "scripted",
        "README.md",
        "pyproject.toml",
    ]


def test_the_man_page_has_every_command() -> None:
    page = output(
        Path(sys.executable).parent / "argparse-manpage",
        *("--module", "livecaption.cli", "--function", "build_parser", "--prog", "livecaption"),
    )
    assert page.startswith(".TH LIVECAPTION")
    assert "\\-\\-max\\-readers" in page
