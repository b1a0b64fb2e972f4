"""From a declared type to its Avro schema.

    str int float bool bytes None         string long double boolean bytes null
    X | None                              a union; null first, unless the default is another
    list, set, frozenset, tuple[X, ...]   array
    dict[str, X]                          map
    Struct, dataclass, TypedDict          record, named as the class
    Enum of text, Literal                 enum; string. Of integers both are long
    datetime, date, time, UUID            timestamp-millis, date, time-micros, uuid

Everything else needs a schema: what it could be in Avro is not for a library to guess.
"""

import re
from typing import Any

import msgspec
from msgspec import NODEFAULT, inspect

from penstock.errors import TopologyError
from penstock.serde.inspection import is_dict, parts

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIMPLE: dict[type, Any] = {
    inspect.StrType: "string",
    inspect.IntType: "long",
    inspect.FloatType: "double",
    inspect.BoolType: "boolean",
    inspect.BytesType: "bytes",
    inspect.NoneType: "null",
    inspect.DateTimeType: {"type": "long", "logicalType": "timestamp-millis"},
    inspect.DateType: {"type": "int", "logicalType": "date"},
    inspect.TimeType: {"type": "long", "logicalType": "time-micros"},
    inspect.UUIDType: {"type": "string", "logicalType": "uuid"},
}
_ARRAYS = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)
_RECORDS = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)


def schema_of(type: Any) -> Any:
    """Derive the schema of a type, as what its JSON stands for.

    Raises:
        TopologyError: naming the field that has no type in Avro, and what to do.
    """
    return _Derivation().of(type_info(type), "The type")


def check_type(type: Any) -> None:
    """Refuse classes whose fields would not all be written.

    Raises:
        TopologyError: naming the class and the option that is in the way.
    """
    for part in parts(type_info(type)):
        if isinstance(part, inspect.StructType):
            _check_struct(part)


def type_info(type: Any) -> Any:
    """Ask msgspec what a type is made of.

    Raises:
        TopologyError: if msgspec does not know it.
    """
    try:
        return inspect.type_info(type)
    except TypeError as error:
        raise TopologyError(
            f"{type!r} cannot be read as Avro: {error}. Declare a Struct, dataclass or"
            " TypedDict, or pass a schema."
        ) from error


def _check_struct(part: inspect.StructType) -> None:
    for option, found in (
        ("omit_defaults", part.cls.__struct_config__.omit_defaults),
        ("array_like", part.array_like),
        ("tag", part.tag_field is not None),
    ):
        if found:
            raise TopologyError(
                f"{part.cls.__name__} is declared with {option}=, which Avro cannot write: a"
                f" record has all of its fields, by name. Declare it without {option}=."
            )


class _Derivation:
    def __init__(self) -> None:
        self._named: dict[str, Any] = {}

    def of(self, part: Any, where: str) -> Any:
        if isinstance(part, inspect.Metadata):
            return self.of(part.type, where)
        if type(part) in _SIMPLE:
            simple = _SIMPLE[type(part)]
            return dict(simple) if is_dict(simple) else simple
        if isinstance(part, _ARRAYS):
            return {"type": "array", "items": self.of(part.item_type, where)}
        if isinstance(part, inspect.DictType) and isinstance(part.key_type, inspect.StrType):
            return {"type": "map", "values": self.of(part.value_type, where)}
        if isinstance(part, inspect.UnionType):
            return self._union(part, where)
        if isinstance(part, inspect.EnumType):
            return self._enum(part.cls, where)
        if isinstance(part, inspect.LiteralType):
            return _of_values(part.values) or _refuse(where, part)
        if isinstance(part, _RECORDS):
            return self._record(part, where)
        return _refuse(where, part)

    def _union(self, union: inspect.UnionType, where: str) -> Any:
        if sum(isinstance(part, _RECORDS) for part in union.types) > 1:
            raise TopologyError(
                f"{where} is a union of several records, and values do not say which one they"
                " are. Declare one record with optional fields, or streams of their own."
            )
        # Null comes first: that is what an optional field's default has to be.
        ordered = sorted(union.types, key=lambda part: not isinstance(part, inspect.NoneType))
        return [self.of(part, where) for part in ordered]

    def _enum(self, cls: Any, where: str) -> Any:
        values = [member.value for member in cls]
        kind = _of_values(values)
        if kind == "long":
            return kind
        if kind != "string" or not all(_NAME.fullmatch(value) for value in values):
            raise TopologyError(
                f"{where} is the enum {cls.__name__}, whose values are no symbols of Avro:"
                f" {', '.join(map(repr, values))}. Give it values of letters, digits and '_',"
                " or integers, or pass a schema."
            )
        name, known = self._name(cls, cls, where)
        return known or {"type": "enum", "name": name, "symbols": values}

    def _record(self, part: Any, where: str) -> Any:
        if isinstance(part, inspect.StructType):
            _check_struct(part)
        name, known = self._name(part.cls, part, where)
        if known:
            return known
        fields = [self._field(field, f"{name}.{field.name}") for field in part.fields]
        return {"type": "record", "name": name, "fields": fields}

    def _name(self, cls: Any, part: Any, where: str) -> tuple[str, str | None]:
        """The name of a named type, and the same again where it is defined already."""
        name: str = re.sub(r"\W", "_", cls.__name__, flags=re.ASCII)
        if name not in self._named:
            self._named[name] = part
            return name, None
        if self._named[name] is not part:
            raise TopologyError(
                f"{where} is a second class named {name}, and Avro knows types by their names."
                " Rename one of them."
            )
        return name, name

    def _field(self, field: inspect.Field, where: str) -> Any:
        if not _NAME.fullmatch(field.encode_name):
            raise TopologyError(
                f"{where} is written as {field.encode_name!r}, which is no name in Avro. Use"
                " letters, digits and '_'."
            )
        schema: dict[str, Any] = {"name": field.encode_name, "type": self.of(field.type, where)}
        default = _default(field)
        if default is NODEFAULT:
            if not field.required and field.default is NODEFAULT and not _has_factory(field):
                raise TopologyError(
                    f"{where} may be missing, and a record of Avro has all of its fields."
                    " Declare it as optional with `| None`."
                )
            return schema
        if isinstance(schema["type"], list) and default is not None:
            schema["type"].reverse()  # a default is of the union's first branch
        return {**schema, "default": default}


def _has_factory(field: inspect.Field) -> bool:
    return field.default_factory is not NODEFAULT


def _default(field: inspect.Field) -> Any:
    """A default that JSON can say as Avro wants it, else NODEFAULT.

    It is None, a number, text, a symbol, or nothing in a container.
    """
    if _has_factory(field):
        plain: dict[Any, Any] = {list: [], set: [], frozenset: [], dict: {}}
        return plain.get(field.default_factory, NODEFAULT)
    found: Any = field.default
    of = field.type
    if isinstance(of, inspect.UnionType) and found is not None:
        others = [part for part in of.types if not isinstance(part, inspect.NoneType)]
        of = others[0] if len(of.types) == 2 and len(others) == 1 else of
    if found is NODEFAULT or (found is not None and not isinstance(of, _WITH_DEFAULTS)):
        return NODEFAULT
    found = msgspec.to_builtins(found)
    return float(found) if isinstance(of, inspect.FloatType) and found is not None else found


# Those of other types, such as datetime, are no plain JSON.
_WITH_DEFAULTS = (
    inspect.StrType,
    inspect.IntType,
    inspect.FloatType,
    inspect.BoolType,
    inspect.EnumType,
    inspect.LiteralType,
)


def _of_values(values: Any) -> str | None:
    kinds: set[type] = {type(value) for value in values}
    if kinds == {str}:
        return "string"
    return "long" if kinds == {int} else None


def _refuse(where: str, part: Any) -> Any:
    name = getattr(getattr(part, "cls", None), "__name__", type(part).__name__.removesuffix("Type"))
    raise TopologyError(
        f"{where} is {name}, for which Avro has no type of its own. Pass a schema that says what"
        " it is: serde.avro(type, schema=...)."
    )
