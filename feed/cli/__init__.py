"""Runs the ``market-feed`` command: one subcommand, and the exit code of each kind of error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from feed.cli.arguments import parser
from feed.cli.process import CommandError, Exit, complain
from feed.errors import FeedError, NoExchangeAvailable, SettingsError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 wrong usage or settings, 3 no venue, 130 interrupted."""
    if sys.stdout is None:  # stdout is closed, as by `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as the process
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # on a terminal without UTF-8, other characters are shown as \u...
    try:
        args = parser().parse_args(argv)
        command = import_module(f"feed.cli.{args.command}")
        code: int = command.run(args)
        sys.stdout.flush()
        return code
    except CommandError as error:
        complain(error)
        return error.code
    except SettingsError as error:
        complain(error)
        return Exit.USAGE
    except NoExchangeAvailable as error:
        complain(error)
        return Exit.NO_VENUE
    except FeedError as error:
        complain(error)
        return Exit.FAILED
    except KeyboardInterrupt:  # Ctrl-C came before the command had its own handler, e.g. while ccxt was imported
        return Exit.INTERRUPTED
    except BrokenPipeError:  # the reader has ended, as in `market-feed watch | head -1`
        _mute()
        return Exit.OK
    except OSError as error:
        # Probably the disk is full to which stdout goes: errors of venues and files are caught where they occur.
        _mute()
        complain(error.strerror or error)
        return Exit.FAILED


def _mute() -> None:
    """Discard stdout; otherwise the interpreter reports an error when it flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
