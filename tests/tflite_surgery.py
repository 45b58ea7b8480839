"""Changing .tflite files: the same network with weights of other types, and networks that are no YAMNet."""

from collections.abc import Callable
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema

DEQUANTIZE = schema.BuiltinOperator.DEQUANTIZE
WITH_KERNELS = (
    schema.BuiltinOperator.CONV_2D,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D,
    schema.BuiltinOperator.FULLY_CONNECTED,
)
FLOAT32, FLOAT16 = schema.TensorType.FLOAT32, schema.TensorType.FLOAT16
INT8, UINT8 = schema.TensorType.INT8, schema.TensorType.UINT8


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    """The file after a change of its model in place."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    change(model)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def kind(model: Any, operator: Any) -> int:
    return int(model.operatorCodes[operator.opcodeIndex].builtinCode)


def dequantised(model: Any, wanted: int) -> None:
    """Every kernel of this type goes through an operator that makes it float32 first, so that what follows is too."""
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = DEQUANTIZE, DEQUANTIZE, 5
    model.operatorCodes.append(code)
    (graph,), operators = model.subgraphs, []
    for operator in graph.operators:
        if kind(model, operator) in WITH_KERNELS and graph.tensors[operator.inputs[1]].type == wanted:
            tensor, first = schema.TensorT(), schema.OperatorT()
            tensor.shape, tensor.type = graph.tensors[operator.inputs[1]].shape, FLOAT32
            graph.tensors.append(tensor)
            first.opcodeIndex, first.inputs = len(model.operatorCodes) - 1, [operator.inputs[1]]
            first.outputs = [len(graph.tensors) - 1]
            operator.inputs = [operator.inputs[0], first.outputs[0], operator.inputs[2]]
            operators.append(first)
        operators.append(operator)
    graph.operators = operators


def in_floats(data: bytes) -> bytes:
    """The interpreter then computes in floats, from the same numbers."""
    return changed(data, lambda model: dequantised(model, INT8))


def in_halves(data: bytes) -> bytes:
    """Kernels that are float32 become float16, as TensorFlow's converter writes them."""

    def change(model: Any) -> None:
        (graph,) = model.subgraphs
        for operator in graph.operators:
            if kind(model, operator) in WITH_KERNELS and (t := graph.tensors[operator.inputs[1]]).type == FLOAT32:
                buffer = model.buffers[t.buffer]
                buffer.data = np.frombuffer(bytes(buffer.data), "<f4").astype("<f2").view(np.uint8)
                t.type = FLOAT16
        dequantised(model, FLOAT16)

    return changed(data, change)


def unsigned(data: bytes) -> bytes:
    """Kernels that are int8 about 0 become uint8 about 128, as older files have them."""

    def change(model: Any) -> None:
        (graph,) = model.subgraphs
        for tensor in graph.tensors:
            if tensor.type == INT8:
                buffer = model.buffers[tensor.buffer]
                buffer.data = (np.frombuffer(bytes(buffer.data), "i1").astype("i2") + 128).astype("u1")
                tensor.type, tensor.quantization.zeroPoint = UINT8, np.full(len(tensor.quantization.scale), 128)

    return changed(data, change)


def without(data: bytes, *operators: int) -> bytes:
    """Less these operators, counted from the end where negative."""

    def change(model: Any) -> None:
        (graph,) = model.subgraphs
        gone = {range(len(graph.operators))[i] for i in operators}
        graph.operators = [o for i, o in enumerate(graph.operators) if i not in gone]

    return changed(data, change)


def wider(data: bytes) -> bytes:
    """With a class more: the classifier's kernel and bias have a row more than they had."""

    def change(model: Any) -> None:
        (graph,) = model.subgraphs
        _, kernel, bias = (graph.tensors[i] for i in graph.operators[-2].inputs)
        for tensor in (kernel, bias):
            buffer = model.buffers[tensor.buffer]
            rows = bytes(buffer.data)
            buffer.data = np.frombuffer(rows + rows[: len(rows) // tensor.shape[0]], np.uint8)
            tensor.shape = [tensor.shape[0] + 1, *tensor.shape[1:]]

    return changed(data, change)
