"""The messages of a recording, by rosbags; of an MCAP that was cut off, those that are still there, by mcap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from geminifusion_runtime.printable import escape_controls

from ...errors import InvalidInputError, requires_extra
from ...ros.rosbags_messages import typestore

with requires_extra("reading a recording", "recordings"):
    from mcap.exceptions import McapError
    from mcap.records import Channel, Message, Schema
    from mcap.stream_reader import StreamReader
    from rosbags.highlevel import AnyReader, AnyReaderError

_MCAP_MAGIC = b"\x89MCAP0\r\n"


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic of a recording: its name, the type of its messages (`sensor_msgs/msg/Image`) and their number."""

    name: str
    type: str
    count: int


class RecordedMessage(NamedTuple):
    """A message, with when it was recorded in nanoseconds since 1970."""

    topic: str
    recorded_ns: int
    content: Any


class Recording(Protocol):
    """An open recording.

    Attributes:
        topics: sorted by name.
        notes: sentences about what cannot be read, more of them as it is read.
    """

    topics: tuple[Topic, ...]
    notes: list[str]

    def messages(self, topics: Collection[str]) -> Iterator[RecordedMessage]:
        """The messages of some topics in the order in which they were recorded; ends where the file is damaged."""

    def close(self) -> None:
        """Close the files."""


def read_recording(path: Path) -> Recording:
    """Open a ROS 1 bag, the folder of a ROS 2 bag or a file in it, or an MCAP.

    Raises:
        InvalidInputError: there is no index and no way round it, or it is no recording.
    """
    place = _place(path)
    try:
        return _IndexedRecording(place)
    except Exception as error:  # of a damaged file the libraries raise almost anything
        if _is_cut_off(place):
            return _CutOffRecording(place)
        reason = escape_controls(str(error)) or type(error).__name__
        raise InvalidInputError(f"{path} cannot be read ({reason}); {_advice(place)}") from None


def _place(path: Path) -> Path:
    """What rosbags opens: the folder of a ROS 2 bag where there is an index of it."""
    folder = path if path.is_dir() else path.parent
    if path.suffix.lower() == ".bag" or (folder / "metadata.yaml").is_file():
        return path if path.suffix.lower() in (".bag", ".mcap") else folder
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".mcap", ".db3"))
    if path.is_file():
        files = [path]
    if len(files) == 1 and files[0].suffix.lower() == ".mcap":
        return files[0]
    raise InvalidInputError(
        f"{path} has no metadata.yaml, the index of a ROS 2 bag; make it with: ros2 bag reindex {folder}"
    )


def _advice(place: Path) -> str:
    if place.suffix.lower() == ".bag":
        return f"make its index anew with: rosbag reindex {place}"
    if place.is_dir():
        return f"make its index anew with: ros2 bag reindex {place}"
    return "give a ROS 1 bag, the folder of a ROS 2 bag, or an MCAP of the profile ros2"


def _is_cut_off(place: Path) -> bool:
    """Whether it is an MCAP without its end."""
    if place.is_dir() or place.suffix.lower() != ".mcap":
        return False
    with place.open("rb") as file:
        begins = file.read(len(_MCAP_MAGIC)) == _MCAP_MAGIC
        file.seek(-min(len(_MCAP_MAGIC), file.tell()), 2)
        return begins and file.read() != _MCAP_MAGIC


class _IndexedRecording:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = AnyReader([path], default_typestore=typestore())
        self._reader.open()
        self.notes: list[str] = []
        counts: Counter[tuple[str, str]] = Counter()
        for connection in self._reader.connections:
            counts[connection.topic, connection.msgtype] += connection.msgcount
        self.topics = tuple(Topic(name=name, type=kind, count=count) for (name, kind), count in sorted(counts.items()))

    def messages(self, topics: Collection[str]) -> Iterator[RecordedMessage]:
        wanted = [connection for connection in self._reader.connections if connection.topic in topics]
        stored = self._reader.messages(wanted) if wanted else iter(())
        unreadable = 0
        while True:
            try:
                connection, recorded_ns, data = next(stored)
            except StopIteration:
                break
            except Exception as error:  # of a damaged file the libraries raise almost anything
                self._note(f"{self._path} is damaged ({escape_controls(str(error))}); what comes before is used")
                break
            try:
                content = self._reader.deserialize(data, connection.msgtype)
            except (AnyReaderError, ValueError, IndexError):
                unreadable += 1
                continue
            yield RecordedMessage(connection.topic, recorded_ns, content)
        if unreadable:
            self._note(f"{self._path} has {unreadable} messages that cannot be read; they are left out")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def close(self) -> None:
        self._reader.close()


class _CutOffRecording:
    """An MCAP whose end is missing: every whole chunk of it is there."""

    def __init__(self, path: Path) -> None:
        self._path, self._channels = path, dict[int, tuple[str, str]]()
        self.notes: list[str] = []
        counts: Counter[tuple[str, str]] = Counter()
        for channel, _ in self._stored():
            counts[self._channels[channel]] += 1
        self.topics = tuple(Topic(name=name, type=kind, count=count) for (name, kind), count in sorted(counts.items()))
        if not counts:
            raise InvalidInputError(f"{path} ends before its first message; record it again")
        self.notes.append(
            f"{path} was not written to its end; the {sum(counts.values())} messages that are whole are used"
        )

    def messages(self, topics: Collection[str]) -> Iterator[RecordedMessage]:
        for channel, message in self._stored():
            topic, kind = self._channels[channel]
            if topic in topics:
                yield RecordedMessage(topic, message.log_time, typestore().deserialize_cdr(message.data, kind))

    def _stored(self) -> Iterator[tuple[int, Message]]:
        schemas: dict[int, str] = {}
        with self._path.open("rb") as file:
            try:
                for record in StreamReader(file).records:
                    if isinstance(record, Schema):
                        schemas[record.id] = record.name
                    elif isinstance(record, Channel):
                        self._channels[record.id] = record.topic, schemas.get(record.schema_id, "")
                    elif isinstance(record, Message):
                        yield record.channel_id, record
            except (McapError, ValueError):  # the end of what is there
                return

    def close(self) -> None:
        pass
