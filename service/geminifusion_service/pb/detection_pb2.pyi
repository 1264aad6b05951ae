from geminifusion_service.pb import segmentation_pb2 as _segmentation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DetectionFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DETECTION_FORMAT_UNSPECIFIED: _ClassVar[DetectionFormat]
    DETECTION_FORMAT_BOXES: _ClassVar[DetectionFormat]
    DETECTION_FORMAT_KITTI: _ClassVar[DetectionFormat]
    DETECTION_FORMAT_OVERLAY: _ClassVar[DetectionFormat]
    DETECTION_FORMAT_BEV: _ClassVar[DetectionFormat]
DETECTION_FORMAT_UNSPECIFIED: DetectionFormat
DETECTION_FORMAT_BOXES: DetectionFormat
DETECTION_FORMAT_KITTI: DetectionFormat
DETECTION_FORMAT_OVERLAY: DetectionFormat
DETECTION_FORMAT_BEV: DetectionFormat

class DetectRequest(_message.Message):
    __slots__ = ("rgb", "points", "calibration", "model", "format", "min_score", "sensor_policy", "priority", "deadline_ms", "request_id")
    RGB_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    SENSOR_POLICY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    rgb: bytes
    points: bytes
    calibration: bytes
    model: str
    format: DetectionFormat
    min_score: float
    sensor_policy: _segmentation_pb2.SensorPolicy
    priority: _segmentation_pb2.Priority
    deadline_ms: float
    request_id: str
    def __init__(self, rgb: _Optional[bytes] = ..., points: _Optional[bytes] = ..., calibration: _Optional[bytes] = ..., model: _Optional[str] = ..., format: _Optional[_Union[DetectionFormat, str]] = ..., min_score: _Optional[float] = ..., sensor_policy: _Optional[_Union[_segmentation_pb2.SensorPolicy, str]] = ..., priority: _Optional[_Union[_segmentation_pb2.Priority, str]] = ..., deadline_ms: _Optional[float] = ..., request_id: _Optional[str] = ...) -> None: ...

class DetectResponse(_message.Message):
    __slots__ = ("model", "request_id", "height", "width", "num_points", "classes", "boxes", "file", "format", "range", "timings_ms", "batch_size", "warnings", "sensors")
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
    NUM_POINTS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_MS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SENSORS_FIELD_NUMBER: _ClassVar[int]
    model: str
    request_id: str
    height: int
    width: int
    num_points: int
    classes: _containers.RepeatedScalarFieldContainer[str]
    boxes: _containers.RepeatedCompositeFieldContainer[Box]
    file: bytes
    format: DetectionFormat
    range: Range
    timings_ms: _segmentation_pb2.Timings
    batch_size: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    sensors: _containers.MessageMap[str, _segmentation_pb2.SensorHealth]
    def __init__(self, model: _Optional[str] = ..., request_id: _Optional[str] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., num_points: _Optional[int] = ..., classes: _Optional[_Iterable[str]] = ..., boxes: _Optional[_Iterable[_Union[Box, _Mapping]]] = ..., file: _Optional[bytes] = ..., format: _Optional[_Union[DetectionFormat, str]] = ..., range: _Optional[_Union[Range, _Mapping]] = ..., timings_ms: _Optional[_Union[_segmentation_pb2.Timings, _Mapping]] = ..., batch_size: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ..., sensors: _Optional[_Mapping[str, _segmentation_pb2.SensorHealth]] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("class_id", "score", "lidar", "location", "dimensions", "rotation_y", "alpha", "image")
    CLASS_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LIDAR_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    ROTATION_Y_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    class_id: int
    score: float
    lidar: _containers.RepeatedScalarFieldContainer[float]
    location: _containers.RepeatedScalarFieldContainer[float]
    dimensions: _containers.RepeatedScalarFieldContainer[float]
    rotation_y: float
    alpha: float
    image: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, class_id: _Optional[int] = ..., score: _Optional[float] = ..., lidar: _Optional[_Iterable[float]] = ..., location: _Optional[_Iterable[float]] = ..., dimensions: _Optional[_Iterable[float]] = ..., rotation_y: _Optional[float] = ..., alpha: _Optional[float] = ..., image: _Optional[_Iterable[float]] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("low", "high", "pillar_size")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    PILLAR_SIZE_FIELD_NUMBER: _ClassVar[int]
    low: _containers.RepeatedScalarFieldContainer[float]
    high: _containers.RepeatedScalarFieldContainer[float]
    pillar_size: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, low: _Optional[_Iterable[float]] = ..., high: _Optional[_Iterable[float]] = ..., pillar_size: _Optional[_Iterable[float]] = ...) -> None: ...
