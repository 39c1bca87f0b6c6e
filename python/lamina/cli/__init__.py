"""The command line: ``lamina compare``, ``train``, ``generate``, ``evaluate``, ``ngram``,
``information`` and ``bench``.

Whatever is wrong with the input ends with one plain line and exit code 2.
"""

import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, ClassVar

import click

import lamina
from lamina import startup
from lamina.cli.bench import bench
from lamina.cli.compare import compare
from lamina.cli.evaluate import evaluate
from lamina.cli.generate import generate
from lamina.cli.information import information
from lamina.cli.ngram import ngram
from lamina.cli.train import train

BAD_INPUT = 2
INTERRUPTED = 130


class _Commands(click.Group):
    """Commands, some of which have a second name that the help leaves out."""

    _also: ClassVar[dict[str, str]] = {"entropy": "information"}

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name."""
        return super().get_command(context, self._also.get(name, name))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lamina.__version__, prog_name="lamina")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads of the kernels.")
def cli(threads: int | None) -> None:
    """Deep learning and language models on an ordinary CPU."""
    if threads is not None:
        lamina.set_num_threads(threads)


for command in (compare, train, generate, evaluate, ngram, information, bench):
    cli.add_command(command)


class _Ended(BaseException):
    """A signal asked the program to end."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and exit with 0, 2 for bad input, or 130 after Ctrl-C.

    SIGTERM and SIGHUP end it by the signal, after the terminal has been put in order.
    """
    code = 1
    with _ending_by_signals():
        code = run(arguments)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
    if code == INTERRUPTED:
        # Threads in the middle of a long kernel, which nobody waits for now, cannot be stopped.
        os._exit(code)
    sys.exit(code)


@contextmanager
def _ending_by_signals() -> Iterator[None]:
    received: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        raise _Ended

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # One that is ignored, as by nohup, stays so.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)
    try:
        yield
    except BaseException:
        # Whatever went wrong on the way out, as a terminal that is gone.
        if not received:
            raise
    if received:
        signal.signal(received[0], signal.SIG_DFL)
        os.kill(os.getpid(), received[0])


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit code."""
    try:
        startup.expect_interrupts()
        with warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]
            # What a command exits with is returned; commands themselves return nothing.
            code = cli.main(args=arguments, prog_name="lamina", standalone_mode=False)
            return code or 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return BAD_INPUT
    except click.ClickException as error:
        return _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        click.echo("lamina: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, OSError, MemoryError, FloatingPointError) as error:
        return _fail(str(error) or type(error).__name__)


def _fail(message: str) -> int:
    click.echo(f"lamina: {' '.join(message.split())}", err=True)
    return BAD_INPUT


def _warn(message: Warning | str, *_place: Any) -> None:
    click.echo(f"lamina: warning: {message}", err=True)
