"""``vinefast completion``: what makes a shell complete this command."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_VINEFAST_COMPLETE"


@click.command(short_help="Print what makes your shell complete this command.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes your shell complete commands, options and files.

    \b
    To turn it on, for shells that start from then on:
      bash:  echo 'eval "$(vinefast completion bash)"' >> ~/.bashrc
      zsh:   echo 'eval "$(vinefast completion zsh)"' >> ~/.zshrc
      fish:  vinefast completion fish > ~/.config/fish/completions/vinefast.fish
    """  # noqa: D301
    kind = get_completion_class(shell)
    assert kind is not None
    try:
        script = kind(context.find_root().command, {}, "vinefast", _VARIABLE).source()
    except (OSError, RuntimeError) as error:  # it asks the shell for its version
        raise click.ClickException(f"{shell} cannot be asked for its version: {error}") from None
    click.echo(script)
