"""ggml's graph as llama.cpp evaluates it: a look at a node and its inputs from the scheduler's callback.

The layout is that of ggml.h (struct ggml_tensor, 64 bit). It is proved before use: ggml itself tells where a tensor's
name lies.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from rolekit.convert.dequantize import ggml_base
from rolekit.convert.source import Float32


class Node(ctypes.Structure):
    """struct ggml_tensor."""


Node._fields_ = (
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.c_void_p * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offset", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
)
_F32 = 0


def node_at(address: int) -> Node:
    """The node at an address that the scheduler's callback was given."""
    return Node.from_address(address)


def check_layout(address: int) -> None:
    """Raise RuntimeError when the installed ggml lays its tensors out in another way than Node says."""
    if _functions().ggml_get_name(address) != address + Node.name.offset:
        raise RuntimeError(
            "ggml's tensors have changed their layout: this llama-cpp-python is too new for rolekit"
        )


@cache
def operation(code: int) -> str:
    """The name of an operation (MUL_MAT)."""
    name: bytes = _functions().ggml_op_name(code)
    return name.decode()


def is_float32(node: Node) -> bool:
    """Whether the node's numbers are float32."""
    return bool(node.type == _F32)


def matrix_of(node: Node) -> Float32:
    """A float32 node's numbers as rows of ne[0], copied from the device where they do not lie in memory."""
    shape, strides = tuple(reversed(node.ne)), tuple(reversed(node.nb))
    functions = _functions()
    if functions.ggml_backend_buffer_is_host(node.buffer):
        size = sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) + 4
        memory = (ctypes.c_char * size).from_address(node.data)
    else:
        size = functions.ggml_nbytes(ctypes.addressof(node))
        memory = ctypes.create_string_buffer(size)
        functions.ggml_backend_tensor_get(ctypes.addressof(node), memory, 0, size)
    values: Float32 = np.ndarray(shape, np.float32, buffer=memory, strides=strides)
    return values.reshape(-1, shape[-1])


@cache
def _functions() -> Any:
    base = ggml_base()
    base.ggml_get_name.argtypes, base.ggml_get_name.restype = [ctypes.c_void_p], ctypes.c_void_p
    base.ggml_op_name.argtypes, base.ggml_op_name.restype = [ctypes.c_int], ctypes.c_char_p
    base.ggml_nbytes.argtypes, base.ggml_nbytes.restype = [ctypes.c_void_p], ctypes.c_size_t
    base.ggml_backend_buffer_is_host.argtypes = [ctypes.c_void_p]
    base.ggml_backend_buffer_is_host.restype = ctypes.c_bool
    base.ggml_backend_tensor_get.argtypes = [
        *(ctypes.c_void_p, ctypes.c_void_p),
        *(ctypes.c_size_t, ctypes.c_size_t),
    ]
    base.ggml_backend_tensor_get.restype = None
    return base
