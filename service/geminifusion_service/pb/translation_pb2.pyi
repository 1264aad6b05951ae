from geminifusion_service.pb import segmentation_pb2 as _segmentation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TranslationFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSLATION_FORMAT_UNSPECIFIED: _ClassVar[TranslationFormat]
    TRANSLATION_FORMAT_PNG: _ClassVar[TranslationFormat]
    TRANSLATION_FORMAT_NPY: _ClassVar[TranslationFormat]
    TRANSLATION_FORMAT_PICTURE: _ClassVar[TranslationFormat]
TRANSLATION_FORMAT_UNSPECIFIED: TranslationFormat
TRANSLATION_FORMAT_PNG: TranslationFormat
TRANSLATION_FORMAT_NPY: TranslationFormat
TRANSLATION_FORMAT_PICTURE: TranslationFormat

class TranslateRequest(_message.Message):
    __slots__ = ("images", "model", "depth_scale", "depth_invalid", "align", "sensor_policy", "format", "priority", "deadline_ms", "request_id", "scales", "invalids")
    class ImagesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    class ScalesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class InvalidsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _segmentation_pb2.Values
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_segmentation_pb2.Values, _Mapping]] = ...) -> None: ...
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEPTH_SCALE_FIELD_NUMBER: _ClassVar[int]
    DEPTH_INVALID_FIELD_NUMBER: _ClassVar[int]
    ALIGN_FIELD_NUMBER: _ClassVar[int]
    SENSOR_POLICY_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    INVALIDS_FIELD_NUMBER: _ClassVar[int]
    images: _containers.ScalarMap[str, bytes]
    model: str
    depth_scale: float
    depth_invalid: _containers.RepeatedScalarFieldContainer[float]
    align: _segmentation_pb2.Align
    sensor_policy: _segmentation_pb2.SensorPolicy
    format: TranslationFormat
    priority: _segmentation_pb2.Priority
    deadline_ms: float
    request_id: str
    scales: _containers.ScalarMap[str, float]
    invalids: _containers.MessageMap[str, _segmentation_pb2.Values]
    def __init__(self, images: _Optional[_Mapping[str, bytes]] = ..., model: _Optional[str] = ..., depth_scale: _Optional[float] = ..., depth_invalid: _Optional[_Iterable[float]] = ..., align: _Optional[_Union[_segmentation_pb2.Align, str]] = ..., sensor_policy: _Optional[_Union[_segmentation_pb2.SensorPolicy, str]] = ..., format: _Optional[_Union[TranslationFormat, str]] = ..., priority: _Optional[_Union[_segmentation_pb2.Priority, str]] = ..., deadline_ms: _Optional[float] = ..., request_id: _Optional[str] = ..., scales: _Optional[_Mapping[str, float]] = ..., invalids: _Optional[_Mapping[str, _segmentation_pb2.Values]] = ...) -> None: ...

class TranslateResponse(_message.Message):
    __slots__ = ("model", "request_id", "height", "width", "format", "domain", "file", "depth_scale", "timings_ms", "batch_size", "warnings", "sensors")
    class SensorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _segmentation_pb2.SensorHealth
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_segmentation_pb2.SensorHealth, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    DEPTH_SCALE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_MS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SENSORS_FIELD_NUMBER: _ClassVar[int]
    model: str
    request_id: str
    height: int
    width: int
    format: TranslationFormat
    domain: str
    file: bytes
    depth_scale: float
    timings_ms: _segmentation_pb2.Timings
    batch_size: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    sensors: _containers.MessageMap[str, _segmentation_pb2.SensorHealth]
    def __init__(self, model: _Optional[str] = ..., request_id: _Optional[str] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., format: _Optional[_Union[TranslationFormat, str]] = ..., domain: _Optional[str] = ..., file: _Optional[bytes] = ..., depth_scale: _Optional[float] = ..., timings_ms: _Optional[_Union[_segmentation_pb2.Timings, _Mapping]] = ..., batch_size: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ..., sensors: _Optional[_Mapping[str, _segmentation_pb2.SensorHealth]] = ...) -> None: ...
