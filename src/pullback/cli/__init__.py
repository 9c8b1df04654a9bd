"""The `pullback` command."""

from pullback.cli.command import main as main
