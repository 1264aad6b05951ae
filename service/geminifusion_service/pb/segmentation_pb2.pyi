from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MaskFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_FORMAT_UNSPECIFIED: _ClassVar[MaskFormat]
    MASK_FORMAT_PNG: _ClassVar[MaskFormat]
    MASK_FORMAT_PALETTE: _ClassVar[MaskFormat]
    MASK_FORMAT_RLE: _ClassVar[MaskFormat]
    MASK_FORMAT_NPZ: _ClassVar[MaskFormat]
    MASK_FORMAT_OVERLAY: _ClassVar[MaskFormat]
    MASK_FORMAT_PLY: _ClassVar[MaskFormat]
    MASK_FORMAT_PCD: _ClassVar[MaskFormat]
    MASK_FORMAT_CLOUD_NPZ: _ClassVar[MaskFormat]

class Align(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALIGN_UNSPECIFIED: _ClassVar[Align]
    ALIGN_NONE: _ClassVar[Align]
    ALIGN_RESIZE: _ClassVar[Align]
    ALIGN_REGISTER: _ClassVar[Align]

class SensorPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SENSOR_POLICY_UNSPECIFIED: _ClassVar[SensorPolicy]
    SENSOR_POLICY_REJECT: _ClassVar[SensorPolicy]
    SENSOR_POLICY_WARN: _ClassVar[SensorPolicy]
    SENSOR_POLICY_DROP_MODALITY: _ClassVar[SensorPolicy]
    SENSOR_POLICY_SYNTHESIZE: _ClassVar[SensorPolicy]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_NORMAL: _ClassVar[Priority]
    PRIORITY_HIGH: _ClassVar[Priority]
MASK_FORMAT_UNSPECIFIED: MaskFormat
MASK_FORMAT_PNG: MaskFormat
MASK_FORMAT_PALETTE: MaskFormat
MASK_FORMAT_RLE: MaskFormat
MASK_FORMAT_NPZ: MaskFormat
MASK_FORMAT_OVERLAY: MaskFormat
MASK_FORMAT_PLY: MaskFormat
MASK_FORMAT_PCD: MaskFormat
MASK_FORMAT_CLOUD_NPZ: MaskFormat
ALIGN_UNSPECIFIED: Align
ALIGN_NONE: Align
ALIGN_RESIZE: Align
ALIGN_REGISTER: Align
SENSOR_POLICY_UNSPECIFIED: SensorPolicy
SENSOR_POLICY_REJECT: SensorPolicy
SENSOR_POLICY_WARN: SensorPolicy
SENSOR_POLICY_DROP_MODALITY: SensorPolicy
SENSOR_POLICY_SYNTHESIZE: SensorPolicy
PRIORITY_UNSPECIFIED: Priority
PRIORITY_NORMAL: Priority
PRIORITY_HIGH: Priority

class SegmentRequest(_message.Message):
    __slots__ = ("images", "model", "depth_scale", "format", "confidence", "gate", "classes", "deadline_ms", "request_id", "align", "sensor_policy", "disagreement", "priority", "supersedable", "depth_invalid", "intrinsics", "overlay_on", "scales", "invalids", "rgb_intrinsics", "extrinsics")
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
        value: Values
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Values, _Mapping]] = ...) -> None: ...
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEPTH_SCALE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ALIGN_FIELD_NUMBER: _ClassVar[int]
    SENSOR_POLICY_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDABLE_FIELD_NUMBER: _ClassVar[int]
    DEPTH_INVALID_FIELD_NUMBER: _ClassVar[int]
    INTRINSICS_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_ON_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    INVALIDS_FIELD_NUMBER: _ClassVar[int]
    RGB_INTRINSICS_FIELD_NUMBER: _ClassVar[int]
    EXTRINSICS_FIELD_NUMBER: _ClassVar[int]
    images: _containers.ScalarMap[str, bytes]
    model: str
    depth_scale: float
    format: MaskFormat
    confidence: bool
    gate: bool
    classes: bool
    deadline_ms: float
    request_id: str
    align: Align
    sensor_policy: SensorPolicy
    disagreement: bool
    priority: Priority
    supersedable: bool
    depth_invalid: _containers.RepeatedScalarFieldContainer[float]
    intrinsics: _containers.RepeatedScalarFieldContainer[float]
    overlay_on: str
    scales: _containers.ScalarMap[str, float]
    invalids: _containers.MessageMap[str, Values]
    rgb_intrinsics: _containers.RepeatedScalarFieldContainer[float]
    extrinsics: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, images: _Optional[_Mapping[str, bytes]] = ..., model: _Optional[str] = ..., depth_scale: _Optional[float] = ..., format: _Optional[_Union[MaskFormat, str]] = ..., confidence: _Optional[bool] = ..., gate: _Optional[bool] = ..., classes: _Optional[bool] = ..., deadline_ms: _Optional[float] = ..., request_id: _Optional[str] = ..., align: _Optional[_Union[Align, str]] = ..., sensor_policy: _Optional[_Union[SensorPolicy, str]] = ..., disagreement: _Optional[bool] = ..., priority: _Optional[_Union[Priority, str]] = ..., supersedable: _Optional[bool] = ..., depth_invalid: _Optional[_Iterable[float]] = ..., intrinsics: _Optional[_Iterable[float]] = ..., overlay_on: _Optional[str] = ..., scales: _Optional[_Mapping[str, float]] = ..., invalids: _Optional[_Mapping[str, Values]] = ..., rgb_intrinsics: _Optional[_Iterable[float]] = ..., extrinsics: _Optional[_Iterable[float]] = ...) -> None: ...

class Values(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class SegmentResponse(_message.Message):
    __slots__ = ("model", "request_id", "height", "width", "format", "mask", "classes", "rle", "confidence", "gate", "timings_ms", "batch_size", "warnings", "sensors", "disagreement", "modality_weights")
    class SensorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: SensorHealth
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[SensorHealth, _Mapping]] = ...) -> None: ...
    class ModalityWeightsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Plane
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Plane, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    RLE_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_MS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SENSORS_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_FIELD_NUMBER: _ClassVar[int]
    MODALITY_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    request_id: str
    height: int
    width: int
    format: MaskFormat
    mask: bytes
    classes: _containers.RepeatedCompositeFieldContainer[ClassShare]
    rle: _containers.RepeatedCompositeFieldContainer[RunLengths]
    confidence: Plane
    gate: Plane
    timings_ms: Timings
    batch_size: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    sensors: _containers.MessageMap[str, SensorHealth]
    disagreement: Plane
    modality_weights: _containers.MessageMap[str, Plane]
    def __init__(self, model: _Optional[str] = ..., request_id: _Optional[str] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., format: _Optional[_Union[MaskFormat, str]] = ..., mask: _Optional[bytes] = ..., classes: _Optional[_Iterable[_Union[ClassShare, _Mapping]]] = ..., rle: _Optional[_Iterable[_Union[RunLengths, _Mapping]]] = ..., confidence: _Optional[_Union[Plane, _Mapping]] = ..., gate: _Optional[_Union[Plane, _Mapping]] = ..., timings_ms: _Optional[_Union[Timings, _Mapping]] = ..., batch_size: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ..., sensors: _Optional[_Mapping[str, SensorHealth]] = ..., disagreement: _Optional[_Union[Plane, _Mapping]] = ..., modality_weights: _Optional[_Mapping[str, Plane]] = ...) -> None: ...

class SensorHealth(_message.Message):
    __slots__ = ("holes", "saturated", "noise", "problem")
    HOLES_FIELD_NUMBER: _ClassVar[int]
    SATURATED_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    holes: float
    saturated: float
    noise: float
    problem: str
    def __init__(self, holes: _Optional[float] = ..., saturated: _Optional[float] = ..., noise: _Optional[float] = ..., problem: _Optional[str] = ...) -> None: ...

class ClassShare(_message.Message):
    __slots__ = ("id", "name", "color", "pixels", "fraction", "median_depth_m", "nearest_depth_m", "space")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_DEPTH_M_FIELD_NUMBER: _ClassVar[int]
    NEAREST_DEPTH_M_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    color: Color
    pixels: int
    fraction: float
    median_depth_m: float
    nearest_depth_m: float
    space: ClassSpace
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., color: _Optional[_Union[Color, _Mapping]] = ..., pixels: _Optional[int] = ..., fraction: _Optional[float] = ..., median_depth_m: _Optional[float] = ..., nearest_depth_m: _Optional[float] = ..., space: _Optional[_Union[ClassSpace, _Mapping]] = ...) -> None: ...

class ClassSpace(_message.Message):
    __slots__ = ("points", "nearest_m", "box_min_m", "box_max_m", "area_m2", "volume_m3")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    NEAREST_M_FIELD_NUMBER: _ClassVar[int]
    BOX_MIN_M_FIELD_NUMBER: _ClassVar[int]
    BOX_MAX_M_FIELD_NUMBER: _ClassVar[int]
    AREA_M2_FIELD_NUMBER: _ClassVar[int]
    VOLUME_M3_FIELD_NUMBER: _ClassVar[int]
    points: int
    nearest_m: float
    box_min_m: _containers.RepeatedScalarFieldContainer[float]
    box_max_m: _containers.RepeatedScalarFieldContainer[float]
    area_m2: float
    volume_m3: float
    def __init__(self, points: _Optional[int] = ..., nearest_m: _Optional[float] = ..., box_min_m: _Optional[_Iterable[float]] = ..., box_max_m: _Optional[_Iterable[float]] = ..., area_m2: _Optional[float] = ..., volume_m3: _Optional[float] = ...) -> None: ...

class Color(_message.Message):
    __slots__ = ("red", "green", "blue")
    RED_FIELD_NUMBER: _ClassVar[int]
    GREEN_FIELD_NUMBER: _ClassVar[int]
    BLUE_FIELD_NUMBER: _ClassVar[int]
    red: int
    green: int
    blue: int
    def __init__(self, red: _Optional[int] = ..., green: _Optional[int] = ..., blue: _Optional[int] = ...) -> None: ...

class RunLengths(_message.Message):
    __slots__ = ("class_id", "counts")
    CLASS_ID_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    class_id: int
    counts: str
    def __init__(self, class_id: _Optional[int] = ..., counts: _Optional[str] = ...) -> None: ...

class Plane(_message.Message):
    __slots__ = ("height", "width", "float16")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    FLOAT16_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    float16: bytes
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., float16: _Optional[bytes] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("decode", "queue", "compute", "encode")
    DECODE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_FIELD_NUMBER: _ClassVar[int]
    ENCODE_FIELD_NUMBER: _ClassVar[int]
    decode: float
    queue: float
    compute: float
    encode: float
    def __init__(self, decode: _Optional[float] = ..., queue: _Optional[float] = ..., compute: _Optional[float] = ..., encode: _Optional[float] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message", "http_status", "retry_after_s")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    http_status: int
    retry_after_s: int
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., http_status: _Optional[int] = ..., retry_after_s: _Optional[int] = ...) -> None: ...

class SegmentStreamResponse(_message.Message):
    __slots__ = ("request_id", "response", "error", "frame")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: SegmentResponse
    error: Error
    frame: int
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[SegmentResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., frame: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelDescription]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelDescription, _Mapping]]] = ...) -> None: ...

class ModelDescription(_message.Message):
    __slots__ = ("name", "version", "classes", "json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    classes: _containers.RepeatedCompositeFieldContainer[ClassDescription]
    json: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., classes: _Optional[_Iterable[_Union[ClassDescription, _Mapping]]] = ..., json: _Optional[str] = ...) -> None: ...

class ClassDescription(_message.Message):
    __slots__ = ("id", "name", "color")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    color: Color
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., color: _Optional[_Union[Color, _Mapping]] = ...) -> None: ...
