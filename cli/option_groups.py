"""Options that belong together: a parameter that is a dataclass is one option for each field.

A command with many options is a function of few parameters that way, and hands on what it was
given as it is.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any


def grouped(function: Callable[..., None]) -> Callable[..., None]:
    """Show the fields of dataclasses as options of their own; fill the dataclasses at the call.

    The fields carry what typer reads: `Annotated[..., typer.Option(...)]`, and a default.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    shown: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        kind = hints[parameter.name]
        if dataclasses.is_dataclass(kind):
            groups[parameter.name] = kind
            shown += _options(kind)
        else:
            shown.append(parameter.replace(annotation=kind))

    @functools.wraps(function)
    def command(**given: Any) -> None:
        for name, group in groups.items():
            names = [field.name for field in dataclasses.fields(group)]
            given[name] = group(**{name: given.pop(name) for name in names})
        function(**given)

    # What has no default comes first, as Python wants it.
    shown.sort(key=lambda parameter: parameter.kind)
    command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return command


def _options(group: Any) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(group)
    ]
