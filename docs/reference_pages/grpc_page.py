"""Calls, messages and enumerations of the gRPC interface, with the comments of the proto."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from geminifusion_service.reference import table

_ROOT = Path(__file__).parents[2]
_FOLDER = "geminifusion_service/pb"  # where the files import each other from
_PROTOS = ("segmentation.proto", "translation.proto", "detection.proto")
_SERVICE, _MESSAGE, _ENUM, _MEMBER = 6, 4, 5, 2  # numbers in the paths of SourceCodeInfo


def grpc_page() -> str:
    """A table for each service, message and enumeration, in the order of the files."""
    return "\n".join(part for name in _PROTOS for part in _parts(_described(name)))


def _parts(file: FileDescriptorProto) -> list[str]:
    comments = {
        tuple(place.path): " ".join((place.leading_comments + " " + place.trailing_comments).split())
        for place in file.source_code_info.location
    }
    parts = [f"## {one.name}: calls\n\n{_calls(one, comments, n)}" for n, one in enumerate(file.service)]
    parts += [f"### {one.name}\n\n{_fields(one, comments, n)}" for n, one in enumerate(file.message_type) if one.field]
    parts += [f"### {one.name}\n\n{_choices(one, comments, n)}" for n, one in enumerate(file.enum_type)]
    parts.insert(len(file.service), f"## {file.service[0].name}: messages\n")
    return parts


def _described(name: str) -> FileDescriptorProto:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        command = [sys.executable, "-m", "grpc_tools.protoc", "--include_source_info", f"--descriptor_set_out={out}"]
        path = f"--proto_path={_FOLDER}={_ROOT / 'protos' / 'geminifusion' / 'v1'}"
        subprocess.run([*command, path, f"{_FOLDER}/{name}"], check=True)  # noqa: S603
        return FileDescriptorSet.FromString(out.read_bytes()).file[0]


Comments = dict[tuple[int, ...], str]


def _calls(service: ServiceDescriptorProto, comments: Comments, number: int) -> str:
    def kind(name: str, streams: bool) -> str:
        return f"{'stream of ' if streams else ''}`{_short(name)}`"

    rows = [
        (
            f"`{call.name}`",
            kind(call.input_type, call.client_streaming),
            kind(call.output_type, call.server_streaming),
            comments.get((_SERVICE, number, _MEMBER, n), ""),
        )
        for n, call in enumerate(service.method)
    ]
    return table(("Call", "Takes", "Gives", "Meaning"), rows)


def _fields(message: DescriptorProto, comments: Comments, number: int) -> str:
    maps = {f"{message.name}.{one.name}": one for one in message.nested_type if one.options.map_entry}
    rows = [
        (f"`{field.name}`", f"`{_type(field, maps)}`", comments.get((_MESSAGE, number, _MEMBER, n), ""))
        for n, field in enumerate(message.field)
    ]
    return table(("Field", "Type", "Meaning"), rows)


def _choices(enum: EnumDescriptorProto, comments: Comments, number: int) -> str:
    rows = [(f"`{value.name}`", comments.get((_ENUM, number, _MEMBER, n), "")) for n, value in enumerate(enum.value)]
    return table(("Value", "Meaning"), rows)


def _type(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    if entry := maps.get(_short(field.type_name)):
        return f"map<{', '.join(map(_plain, entry.field))}>"
    if field.proto3_optional:
        return f"optional {_plain(field)}"
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    return f"repeated {_plain(field)}" if repeated else _plain(field)


def _plain(field: FieldDescriptorProto) -> str:
    named = _short(field.type_name)
    return named or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _short(name: str) -> str:
    return name.removeprefix(".geminifusion.v1.")
