"""An ONNX graph under construction: operators, weights in their stored type, and the file they end up in.

Every weight is an initializer with its name in ``model.safetensors``, so that the copy can be compared with its source tensor by tensor
(:mod:`finewhisper.conversion.onnx_weights`). Matrices lie as (inputs, outputs): ``MatMul`` takes them as they are, and the token
embedding is its own projection without a second copy.

int8 is one scale for each output of a matrix (``NAME_scale``) and, while running, one for each position of the input: a clip's result does
not depend on its neighbours in a batch, and one loud position does not coarsen the others. Weights are signed and inputs unsigned, which
processors multiply fastest: with VNNI four to five times as fast as two unsigned factors. x86 without VNNI adds two products in 16 bits and
cuts off what is larger; on speech that were 2 of 100 000 pairs, 1-2 % of a layer's output, where rounding inputs to 7 bits, which
avoids it, would cost as much everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Precision = Literal["float32", "float16", "int8"]
Shape = Sequence[int | str]  #: names stand for lengths that are known when the model runs

#: A protobuf file cannot hold 2 GiB, and a browser no larger buffer; weights above this lie in a file beside the graph.
INLINE_BYTES = 2**31 - 2**24
OPSET, IR_VERSION = 20, 9  #: 20 is the first with Gelu; onnxruntime 1.17 knows both
_LIMIT = 127  #: of a rounded weight or input, either side of zero
_INPUT_ZERO = 128  #: what stands for zero among inputs
_ALIGNMENT = 64


class Graph:
    """Operators are added by :meth:`op` and name their outputs; ``external`` takes the weights that a graph file cannot hold."""

    def __init__(self, precision: Precision, external: BinaryIO | None = None) -> None:
        self.precision = precision
        self.float_type = TensorProto.FLOAT16 if precision == "float16" else TensorProto.FLOAT
        self._float = np.dtype(np.float16 if precision == "float16" else np.float32)
        self._external = external
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._quantised: dict[str, tuple[str, str]] = {}
        self._count = 0

    def op(self, kind: str, *inputs: str, name: str = "", outputs: int = 1, **attributes: Any) -> str:
        """Add an operator and return the name of its (first) output; further outputs are that name with ``_1``, ``_2`` …"""
        self._count += 1
        first = name or f"{kind}_{self._count}"
        names = [first, *(f"{first}_{index}" for index in range(1, outputs))]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=f"{kind}_{self._count}", **attributes))
        return first

    @contextmanager
    def branch(self) -> Iterator[list[onnx.NodeProto]]:
        """Collect what is added meanwhile in a list of its own, the body of one branch of an ``If``."""
        outer, self._nodes = self._nodes, []
        quantised, self._quantised = self._quantised, dict(self._quantised)  # what a branch computes cannot be seen outside
        try:
            yield self._nodes
        finally:
            self._nodes, self._quantised = outer, quantised

    def choice(self, condition: str, then: list[onnx.NodeProto], otherwise: list[onnx.NodeProto], outputs: Sequence[str]) -> None:
        """Add an ``If`` with two bodies that each end in tensors named ``then_OUTPUT`` and ``else_OUTPUT``."""
        bodies = {
            f"{side}_branch": helper.make_graph(
                nodes, f"{side}_{outputs[0]}", [], [tensor(f"{side}_{name}", self.float_type, None) for name in outputs]
            )
            for side, nodes in (("then", then), ("else", otherwise))
        }
        self._nodes.append(helper.make_node("If", [condition], list(outputs), name=f"If_{outputs[0]}", **bodies))

    def integers(self, *values: int) -> str:
        """A constant list of 64-bit integers."""
        return self._constant("int_" + "_".join(map(str, values)), np.array(values, np.int64))

    def integer(self, value: int) -> str:
        """A constant 64-bit integer without dimensions."""
        return self._constant(f"int_scalar_{value}", np.array(value, np.int64))

    def number(self, value: float) -> str:
        """A constant of the graph's type without dimensions."""
        return self._constant(f"float_{value!r}", np.array(value, self._float))

    def floats(self, name: str, values: npt.NDArray[Any]) -> str:
        """A weight that is never quantised: norms, biases, convolutions, positions."""
        return self._constant(name, np.asarray(values, self._float))

    def matrix(self, name: str, rows: npt.NDArray[np.float32]) -> str:
        """A matrix of shape (outputs, inputs), stored transposed."""
        if name in self._initializers:
            return name
        if self.precision != "int8":
            return self._constant(name, rows.T.astype(self._float))
        scales = np.maximum(np.abs(rows).max(axis=1), 1e-8) / _LIMIT
        self._constant(f"{name}_scale", scales.astype(np.float32))
        return self._constant(name, np.rint(rows / scales[:, None]).T.astype(np.int8))

    def columns(self, matrix: str, indices: str) -> str:
        """The columns of a stored matrix, that is, the rows it was made from: (…) indices to (…, inputs)."""
        picked = self.op("Transpose", self.op("Gather", matrix, indices, axis=1), perm=[1, 2, 0])
        if self.precision != "int8":
            return picked
        return self.op(
            "Mul",
            self.op("Cast", picked, to=TensorProto.FLOAT),
            self.op("Unsqueeze", self.op("Gather", f"{matrix}_scale", indices), self.integers(-1)),
        )

    def multiply(self, x: str, matrix: str) -> str:
        """(…, inputs) by a stored matrix to (…, outputs)."""
        if self.precision != "int8":
            return self.op("MatMul", x, matrix)
        rounded, scale = self._quantise(x)
        product = self.op("Cast", self.op("MatMulInteger", rounded, matrix, self._input_zero()), to=TensorProto.FLOAT)
        return self.op("Mul", self.op("Mul", product, f"{matrix}_scale"), scale)

    def _quantise(self, x: str) -> tuple[str, str]:
        """``x`` rounded to unsigned 8 bits with one scale for each position; done once however many matrices it meets."""
        if x not in self._quantised:
            largest = self.op("ReduceMax", self.op("Abs", x), self.integers(-1), keepdims=1)
            scale = self.op("Max", self.op("Mul", largest, self.number(1 / _LIMIT)), self.number(1e-12))
            rounded = self.op("QuantizeLinear", self.op("Div", x, scale), self.number(1.0), self._input_zero())
            self._quantised[x] = rounded, scale
        return self._quantised[x]

    def _input_zero(self) -> str:
        return self._constant("input_zero", np.array(_INPUT_ZERO, np.uint8))

    def _constant(self, name: str, values: npt.NDArray[Any]) -> str:
        if name not in self._initializers:
            values = np.ascontiguousarray(values).reshape(values.shape)  # ascontiguousarray makes a scalar a list
            inline = self._external is None or values.nbytes < 1024
            self._initializers[name] = numpy_helper.from_array(values, name) if inline else self._outside(name, values)
        return name

    def _outside(self, name: str, values: npt.NDArray[Any]) -> onnx.TensorProto:
        """Write a weight to the file beside the graph at once, so that a model larger than memory can be written."""
        stream = self._external
        assert stream is not None
        stream.write(b"\0" * (-stream.tell() % _ALIGNMENT))
        place = {"location": Path(stream.name).name, "offset": stream.tell(), "length": values.nbytes}
        stream.write(values.data.cast("B") if values.dtype.isnative else values.tobytes())
        stored = onnx.TensorProto(
            name=name, data_type=helper.np_dtype_to_tensor_dtype(values.dtype), dims=values.shape, data_location=TensorProto.EXTERNAL
        )
        for key, value in place.items():
            stored.external_data.add(key=key, value=str(value))
        return stored

    def save(
        self, path: Path, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto], metadata: dict[str, str]
    ) -> None:
        """Write the graph to ``path``; ``metadata`` are the pairs that some runtimes read."""
        graph = helper.make_graph(self._nodes, "whisper", list(inputs), list(outputs), list(self._initializers.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="finewhisper")
        helper.set_model_props(model, metadata)
        onnx.save(model, path)


def tensor(name: str, kind: int, shape: Shape | None) -> onnx.ValueInfoProto:
    """The declaration of an input or output."""
    return helper.make_tensor_value_info(name, kind, shape)
