"""The command line as a whole: both ways in, its help, and what it says when something is wrong."""

import errno
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from spacy_bert.cli.app import app, plainly

COMMANDS = ("init-config info debug-pieces train-vocab prepare pretrain report fill-mask").split()


def python(*arguments, **options):
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, timeout=120, **options)


def test_both_ways_in():
    """Catches a broken entry point: spaCy's command line has to offer the same commands, under
    the name by which it was called."""
    for way in (["spacy_bert"], ["spacy", "bert"]):
        result = python("-m", *way, "--help", text=True)
        assert result.returncode == 0, result.stderr
        assert f"python -m {' '.join(way)}" in result.stdout
        assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    """Catches a command, an argument or an option without a word on what it does."""
    result = run(command, "--help")
    assert result.exit_code == 0
    [registered] = [c for c in app.registered_commands if c.name == command]
    assert registered.callback.__doc__.strip()
    for parameter in typer.main.get_command(app).commands[command].params:
        assert parameter.help, parameter.name


def test_help_imports_nothing_heavy():
    """Catches an import that makes `--help`, and every command of spaCy, wait for torch or spaCy."""
    code = """
import sys
from typer.testing import CliRunner
from spacy_bert.cli.app import app
assert CliRunner().invoke(app, ["init-config", "--help"]).exit_code == 0
print(sorted({"torch", "spacy", "thinc", "numpy", "tokenizers"} & set(sys.modules)))
"""
    result = python("-c", code, text=True)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def command_that_raises(error):
    alone = typer.Typer()

    @plainly
    def command() -> None:
        raise error

    alone.command()(command)
    return CliRunner().invoke(alone, [])


@pytest.mark.parametrize(
    "error",
    [
        ValueError("\nfound \udcff\n"),
        FileNotFoundError("found \udcff"),
        ImportError("found \udcff"),
    ],
)
def test_mistakes_are_one_message(error):
    """Catches a traceback for what the user can set right, and a message on stdout, where the
    output belongs; a lone surrogate in it must not break it."""
    result = command_that_raises(error)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "Error: found \\udcff\n"


def test_bugs_keep_their_traceback():
    """Catches errors of ours that are passed off as the user's."""
    result = command_that_raises(KeyError("x"))
    assert isinstance(result.exception, KeyError)


def test_closed_pipe_is_no_error():
    """Catches an error message for `init-config - | head`."""
    result = command_that_raises(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert (result.exit_code, result.output) == (1, "")
