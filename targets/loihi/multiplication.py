"""The one place where the emulator multiplies: by BLAS, or spikes by 8-bit kernels.

Spikes times 8-bit weights is what ONNX Runtime's MatMulInteger does, into 32-bit sums,
on processors of today several times as fast as a float32 product; where it is not
installed, or has nothing to win, BLAS multiplies. Both are exact.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
Multiply = Callable[[Values, Values], None]  # [rows, K] into [rows, N]

WORTH_A_SESSION = 2**12  # entries of a matrix


@dataclass(frozen=True)
class Arithmetic:
    """What a product is computed with.

    Args:
        kind: float32 where that is exact, else float64.
        factor: a power of two, of every integer weight.
        spikes: whether the values are bool; else they are numbers.
    """

    kind: type[np.floating[Any]]
    factor: float = 1.0
    spikes: bool = False


def multiplication(matrix: Values, form: Arithmetic) -> Multiply:
    """The quickest way to multiply rows by factor * matrix.

    Args:
        matrix: integers [K, N] in -127..127.
        form: what is computed with.
    """
    large = matrix.size >= WORTH_A_SESSION
    if form.spikes and form.kind is np.float32 and large and onnx_runtime_is_there():
        return by_integers(matrix, form.factor)
    scaled = matrix.astype(form.kind) * form.kind(form.factor)

    def multiply(rows: Values, out: Values) -> None:
        np.matmul(rows.astype(form.kind, copy=False), scaled, out=out)

    return multiply


@cache
def onnx_runtime_is_there() -> bool:
    """Whether 8-bit kernels can be had."""
    return all(find_spec(name) for name in ("onnx", "onnxruntime"))


def by_integers(matrix: Values, factor: float) -> Multiply:
    """Multiplication of bool rows in 8 bits and 32-bit sums; float32 comes out."""
    onnx = importlib.import_module("onnx")
    onnxruntime = importlib.import_module("onnxruntime")
    make, float32 = onnx.helper.make_node, onnx.TensorProto.FLOAT
    constant = onnx.numpy_helper.from_array
    graph = onnx.helper.make_graph(
        [
            make(
                "MatMulIntegerToFloat",
                ["rows", "matrix", "one", "factor"],
                ["product"],
                domain="com.microsoft",
            )
        ],
        "product",
        [onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.UINT8, None)],
        [onnx.helper.make_tensor_value_info("product", float32, None)],
        [
            constant(matrix.astype(np.int8), "matrix"),
            constant(np.float32(1).reshape(()), "one"),
            constant(np.float32(factor).reshape(()), "factor"),
        ],
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=[
            onnx.helper.make_opsetid("", 13),
            onnx.helper.make_opsetid("com.microsoft", 1),
        ],
        ir_version=8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def multiply(rows: Values, out: Values) -> None:
        taken = np.ascontiguousarray(rows).view(np.uint8)
        binding = session.io_binding()
        place = "cpu", 0
        binding.bind_input("rows", *place, np.uint8, taken.shape, taken.ctypes.data)
        binding.bind_output("product", *place, np.float32, out.shape, out.ctypes.data)
        session.run_with_iobinding(binding)

    return multiply
