"""A command whose options and work are those of the task that its arguments lead to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from geminifusion_model.tasks.registry import TASKS, TaskKind


class TaskCommand(click.Command):
    """One name on the command line for one command of each task.

    Args:
        command_of: the command of a task.
        task_of: the task that the arguments lead to, from the options of `peeked` that they have and the other words
            among them, in order.
        peeked: the options that decide; each task's command has them as well.
    """

    def __init__(
        self,
        *,
        help: str,
        command_of: Callable[[TaskKind], click.Command],
        task_of: Callable[[dict[str, Any], Sequence[str]], TaskKind],
        peeked: Sequence[click.Option] = (),
    ) -> None:
        super().__init__(name=None, help=help)
        self._command_of, self._task_of = command_of, task_of
        self._peek = click.Command(
            None,
            params=list(peeked),
            add_help_option=False,
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        )

    @property
    def by_task(self) -> dict[str, click.Command]:
        """The command of every task, by the task's name."""
        return {name: self._command_of(kind) for name, kind in TASKS.items()}

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        """The context of the task's own command."""
        peek = self._peek.make_context(info_name, list(args), parent=parent, resilient_parsing=True)
        command = self._command_of(self._task_of(peek.params, peek.args))
        return command.make_context(info_name, args, parent=parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - whatever the command returns
        """Run the command that `make_context` chose."""
        return ctx.command.invoke(ctx)
