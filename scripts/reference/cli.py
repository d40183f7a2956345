"""The command line, as its own help tells it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from cli.main import EXIT_CODES, fleet
from scripts.reference.markdown import page, table

COLUMNS = 100
INTRODUCTION = """
`./fleet` does from a shell what the [API](api.md) offers: tables for people, `--json` for programs (the API's own
answers), progress on standard error, and an exit code.

```
make up                                      # in one terminal
./fleet --as erik@plant.example status       # in another: what needs somebody
```

**Who you are.** `FLEET_TOKEN` where it is set. Otherwise the app is asked where its people sign in: on Azure that is
the tenant, and Azure CLI (`az login`) gives the token; in the embedded mode it is the issuer, which believes `--as` or
`FLEET_USER`. A token goes to https addresses and to this machine only.

**Changes.** `--dry-run` sends nothing and shows what would be sent and how things stand. `--key` names a change: sent
again within a day, it is made once. `approve` and `reject` show the evidence and ask; `--yes` says that it was looked
at. What is approved is bound to the digest of what was shown.

**Ids and flags** are checked before anything is sent, with what would be right. Texts from outside (tags, comments,
reasons) are shown without what a terminal would obey.

**Completion**: `eval "$(./fleet completion bash)"` for a `fleet` on the path; `zsh` and `fish` as well.
"""


def write() -> str:
    """docs/cli.md"""
    codes = table(("Exit code", "Means"), ((str(code), text) for code, text in EXIT_CODES.items()))
    return page("The command line", INTRODUCTION, codes, *_commands(fleet, "fleet"))


def _commands(group: click.Group, path: str) -> Iterator[str]:
    """Each command's help, groups before what is in them."""
    for name, command in sorted(group.commands.items()):
        yield f"## {path} {name}"
        yield f"```\n{_help(command, f'{path} {name}')}\n```"
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")


def _help(command: click.Command, path: str) -> str:
    context = click.Context(command, info_name=path, terminal_width=COLUMNS, max_content_width=COLUMNS)
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
