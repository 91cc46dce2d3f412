"""The options of the groups as a click command.

Dashes and underscores are alike in every option name, and DeepSpeed's and torchrun's spellings
are accepted, so that a command line moves over by changing its first word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any

import click
from click.core import ParameterSource

import madrun
from madrun.options.option import BOTH
from madrun.options.request import Field, Request, changed, fields
from madrun.options.spellings import ACCEPTED, Foreign
from madrun.system.errors import InputError, MadrunError

TYPED = "the command line"
CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda word: word.replace("_", "-"),
    "allow_interspersed_args": False,  # what stands after the program is the program's
    "max_content_width": 100,
}


class CountOr(click.types.IntParamType):
    """A whole number, or one of some words."""

    name = "count"

    def __init__(self, words: tuple[str, ...]) -> None:
        super().__init__()
        self._words = words

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value in self._words or isinstance(value, int):
            return value
        try:
            return int(value)
        except ValueError:
            words = ", ".join(self._words)
            self.fail(f"{value!r} is neither a whole number nor one of {words}.", param, ctx)


class Count(click.types.IntParamType):
    """A whole number; a range, as torchrun has it, is refused with its reason."""

    name = "count"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if isinstance(value, str) and ":" in value:
            self.fail(f"{value!r}: elastic jobs come in a later version; write a number.")
        return super().convert(value, param, ctx)


class Seconds(click.FloatRange):
    """A number of seconds within bounds; ``nan`` is none, though it offends no bound."""

    name = "seconds"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return number


class Command(click.Command):
    """A command whose help has headings, and that knows what others call its options."""

    headings: Mapping[str, str] = MappingProxyType({})  # by the key of an option
    examples = ""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; raises UsageError that says what to write instead."""
        try:
            return super().parse_args(ctx, list(args))
        except click.NoSuchOption:
            from madrun.options.spellings import REFUSED

            foreign = [
                _foreign_option(row._replace(names=name), f"refused_{at}_{index}")
                for at, row in enumerate(REFUSED)
                for index, name in enumerate(row.names.split())
            ]
            params = [*self.params, *foreign]
            with_foreign = click.Command(self.name, context_settings=CONTEXT, params=params)
            with suppress(click.NoSuchOption):
                with_foreign.make_context(ctx.info_name, list(args))  # raises what is to be written
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every option under its heading."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Argument):
                continue
            heading = self.headings.get(parameter.name or "", "The rest")
            if record := parameter.get_help_record(ctx):
                rows.setdefault(heading, []).append(record)
        for heading, records in rows.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, as they are typed."""
        with formatter.section("Examples"):
            for line in self.examples.splitlines():
                formatter.write(f"  {line}\n")


def command_of(
    name: str, about: str, examples: str, values: Mapping[str, Callable[[], Sequence[str]]]
) -> click.Command:
    """The command ``madrun`` or ``madagent``: its main() returns a Request, or --help's status.

    ``values`` are those of options that are known only elsewhere; the help lists them.
    """
    there = {key: each for key, each in fields().items() if each.option.of in (name, BOTH)}

    def request(program: str | None, args: tuple[str, ...], **values: Any) -> Request:
        source = click.get_current_context().get_parameter_source
        typed = [key for key in values if source(key) is ParameterSource.COMMANDLINE]
        made = changed(Request(), values)
        argv = () if program is None else (program, *args)
        made = made._replace(
            program=made.program._replace(argv=argv), origins=dict.fromkeys(typed, TYPED)
        )
        _check(made)
        return made

    options = [_click_option(key, field, values.get(key)) for key, field in there.items()]
    accepted = [_foreign_option(row, f"accepted_{at}") for at, row in enumerate(ACCEPTED)]
    made = Command(
        name,
        context_settings=CONTEXT,
        callback=request,
        help=about,
        params=[
            *options,
            *accepted,
            click.Argument(["program"], required=False),
            click.Argument(["args"], nargs=-1, type=click.UNPROCESSED),
        ],
    )
    made.headings = {key: field.heading for key, field in there.items()}
    made.examples = examples
    return click.version_option(madrun.__version__, message=f"{name} %(version)s")(made)


def _check(request: Request) -> None:
    """Raises InputError for options that exclude each other."""
    program, workers = request.program, request.workers
    if program.module and program.no_python:
        raise InputError("--module and --no-python exclude each other: a module needs Python")
    if workers.local_rank_arg and program.no_local_rank:
        raise InputError("--local-rank-arg and --no-local-rank exclude each other")


class _Listing(click.Option):
    """An option whose help lists the values that there are, which are looked up only then."""

    listed: Callable[[], Sequence[str]]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0], f"{record[1]} One of {', '.join(self.listed())}.")


def _foreign_option(row: Foreign, name: str) -> click.Option:
    """What another program calls something: taken, or refused with what to write."""

    def refuse(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
        if row.advice and value not in (None, False):
            raise click.UsageError(f"{row.names}: {row.advice}", ctx)

    return click.Option(
        [*row.names.split(), name],
        is_flag=row.flag,
        hidden=True,
        expose_value=False,
        is_eager=True,
        callback=refuse,
    )


def _click_option(
    key: str, field: Field, listed: Callable[[], Sequence[str]] | None
) -> click.Option:
    option = field.option
    names = [*option.names.split(), key]
    if field.kind is bool:
        return click.Option(names, is_flag=True, help=option.help)
    if listed is not None:
        listing = _Listing(
            names, default=field.default, metavar=option.metavar, help=option.help,
            show_default=True,
        )  # fmt: skip
        listing.listed = listed
        return listing
    default = field.default
    several = default == ()
    return click.Option(
        names,
        default=None if several else default,
        multiple=several,
        type=_click_type(field),
        metavar=option.metavar or ("SECONDS" if field.kind is float else None),
        show_default=default not in (None, "", (), 0),
        help=option.help,
    )


def _click_type(field: Field) -> Any:
    low, high = field.option.low, field.option.high
    if field.kind == int | str | None:
        return CountOr(field.option.choices)
    if field.option.choices:
        return click.Choice(field.option.choices)
    if field.kind is float:
        return Seconds(low, high)
    if field.kind in (int, int | None):
        return Count() if low is None or high is None else click.IntRange(int(low), int(high))
    return click.STRING


@contextmanager
def own_output() -> Iterator[None]:
    """For what a command itself writes on stdout; raises MadrunError where that takes nothing.

    A reader that has left (| head) has seen enough: status 1 without a word, as click has it.
    """
    try:
        yield
    except BrokenPipeError:
        raise click.exceptions.Exit(1) from None
    except OSError as error:
        raise MadrunError(f"stdout: {error.strerror}") from None


def show_usage_error(name: str, error: click.ClickException) -> int:
    """Print what is wrong with a command line, in one line, and return the exit status 2."""
    click.echo(f"{name}: {error.format_message()} ({name} --help lists the options)", err=True)
    return 2
