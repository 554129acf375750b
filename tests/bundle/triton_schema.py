"""The part of Triton's model_config.proto that our files use, for protobuf's own text parser: names, numbers and types.

Read in triton-inference-server/common, protobuf/model_config.proto. Where `tritonclient` is installed, a test holds
every entry against the schema that NVIDIA's package carries.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

STRING, BOOL, INT32, INT64, UINT64 = "string", "bool", "int32", "int64", "uint64"
ENUMS: dict[str, dict[str, int]] = {
    "DataType": {"TYPE_INVALID": 0, "TYPE_FP16": 10, "TYPE_FP32": 11, "TYPE_BF16": 14},
    "ModelInput.Format": {"FORMAT_NONE": 0, "FORMAT_NHWC": 1, "FORMAT_NCHW": 2},
    "ModelInstanceGroup.Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2},
}
# Message to field to (number, type, whether it is repeated).
MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "ModelConfig": {
        "name": (1, STRING, False),
        "platform": (2, STRING, False),
        "max_batch_size": (4, INT32, False),
        "input": (5, "ModelInput", True),
        "output": (6, "ModelOutput", True),
        "instance_group": (7, "ModelInstanceGroup", True),
        "dynamic_batching": (11, "ModelDynamicBatching", False),
        "optimization": (12, "ModelOptimizationPolicy", False),
    },
    "ModelInput": {
        "name": (1, STRING, False),
        "data_type": (2, "DataType", False),
        "format": (3, "ModelInput.Format", False),
        "dims": (4, INT64, True),
    },
    "ModelOutput": {
        "name": (1, STRING, False),
        "data_type": (2, "DataType", False),
        "dims": (3, INT64, True),
        "label_filename": (4, STRING, False),
    },
    "ModelInstanceGroup": {"count": (2, INT32, False), "kind": (4, "ModelInstanceGroup.Kind", False)},
    "ModelDynamicBatching": {
        "preferred_batch_size": (1, INT32, True),
        "max_queue_delay_microseconds": (2, UINT64, False),
    },
    "ModelOptimizationPolicy": {"cuda": (3, "ModelOptimizationPolicy.Cuda", False)},
    "ModelOptimizationPolicy.Cuda": {"graphs": (1, BOOL, False)},
}


@functools.cache
def model_config() -> Any:
    """The message class `ModelConfig`."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/model_config.proto", package="tests", syntax="proto3")
    made: dict[str, Any] = {}
    for name in sorted(MESSAGES, key=lambda name: name.count(".")):
        outer, _, inner = name.rpartition(".")
        made[name] = made[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=inner)
    for name, members in ENUMS.items():
        outer, _, inner = name.rpartition(".")
        kind = (made[outer] if outer else file).enum_type.add(name=inner)
        for member, number in members.items():
            kind.value.add(name=member, number=number)
    for name, fields in MESSAGES.items():
        for field, (number, kind, repeated) in fields.items():
            entry = made[name].field.add(name=field, number=number, label=3 if repeated else 1)
            if kind in MESSAGES or kind in ENUMS:
                entry.type_name = f".tests.{kind}"
                entry.type = entry.TYPE_MESSAGE if kind in MESSAGES else entry.TYPE_ENUM
            else:
                entry.type = getattr(entry, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.ModelConfig"))
