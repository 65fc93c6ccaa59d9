"""Tiny speaker networks in ONNX files, good and bad, made without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, external_data_helper, helper, numpy_helper, save

N_DIMS = 12


def write(path, nodes, inputs, outputs, constants=()) -> Path:
    """Write a graph; inputs and outputs are (name, shape), constants named arrays."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return Path(path)


def weights(n_in: int, n_out: int = N_DIMS) -> np.ndarray:
    """(n_in, n_out) float32."""
    return np.random.default_rng(n_in).normal(0, n_in**-0.5, (n_in, n_out)).astype(np.float32)


def of_features(path, shape=("B", "T", 80), axis=1, bins=80) -> Path:
    """The mean over frames of |features · W|; `axis` is that of the frames."""
    before = [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1])] if axis == 2 else []
    nodes = [
        *before,
        helper.make_node("MatMul", ["y" if before else "x", "w"], ["z"]),
        helper.make_node("Abs", ["z"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["embs"], axes=[1], keepdims=0),
    ]
    return write(path, nodes, [("x", shape)], [("embs", ["B", N_DIMS])], [("w", weights(bins))])


def of_samples(path, shape=("B", "N"), kernel=400) -> Path:
    """The mean over time of |samples * kernels|, which needs `kernel` samples."""
    kernels = weights(kernel).T[:, None]
    nodes = [
        helper.make_node("Reshape", ["x", "to"], ["y"]),
        helper.make_node("Conv", ["y", "k"], ["z"], strides=[160]),
        helper.make_node("Abs", ["z"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["embs"], axes=[2], keepdims=0),
    ]
    constants = [("k", np.ascontiguousarray(kernels)), ("to", np.array([1, 1, -1]))]
    return write(path, nodes, [("x", shape)], [("embs", ["B", N_DIMS])], constants)


def with_weights_in(path, location: str) -> Path:
    """A network whose weights stand in another file, named as `location`."""
    import onnx

    model = onnx.load(str(of_features(path)))
    tensor = model.graph.initializer[0]
    external_data_helper.set_external_data(tensor, location)
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    save(model, str(path))
    target = Path(path).parent / location
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return Path(path)
