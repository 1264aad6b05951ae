"""Whether two descriptions of the protocol put the same bytes on the wire."""

from pathlib import Path

from google.protobuf import descriptor_pb2


def check_same_wire(ours_path, *theirs, but=()):
    """What both describe is the same; either may have more. Returns how many messages and calls both describe.

    `ours_path` is a file of a serialised FileDescriptorProto, `theirs` are file descriptors. Messages and calls
    whose names begin with one of `but` are left out.
    """
    ours = descriptor_pb2.FileDescriptorProto.FromString(Path(ours_path).read_bytes())
    files = [descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb) for file in theirs]
    messages = {message.name: message for file in files for message in file.message_type}
    enums = {enum.name: enum for file in files for enum in file.enum_type}
    calls = {call.name: call for file in files for service in file.service for call in service.method}
    compared = 0
    for message in ours.message_type:
        if message.name in messages and not message.name.startswith(but):
            check_message(message, messages[message.name])
            compared += 1
    for enum in ours.enum_type:
        if enum.name in enums:
            assert values(enum) == values(enums[enum.name]), enum.name
    for call in ours.service[0].method:
        if call.name in calls and not call.name.startswith(but):
            assert described(call) == described(calls[call.name]), call.name
            compared += 1
    assert {file.package for file in files} == {ours.package}
    return compared


def check_message(ours, theirs):
    names, numbers = {field.name: field for field in theirs.field}, {field.number: field for field in theirs.field}
    for field in ours.field:
        for other in (names.get(field.name), numbers.get(field.number)):
            assert other is None or same(field, other), f"{ours.name}.{field.name}"
    nested = {message.name: message for message in theirs.nested_type}
    for message in ours.nested_type:
        check_message(message, nested[message.name])


def same(field, other):
    facts = ("name", "number", "type", "label", "type_name")
    return all(getattr(field, fact) == getattr(other, fact) for fact in facts)


def values(enum):
    return {value.name: value.number for value in enum.value}


def described(call):
    return call.input_type, call.output_type, call.client_streaming, call.server_streaming
