"""The builder makes graphs that ONNX Runtime runs, and refuses what it cannot inline."""

import numpy as np
import onnxruntime
import pytest

from workflows.compiler.onnx_graph import GraphBuilder


def scale(by: float) -> GraphBuilder:
    builder = GraphBuilder("scale")
    value = builder.input("x", "float32", ["B", 1])
    builder.output(builder.add("Mul", value, builder.constant(by, np.float32)), "y", "float32", ["B", 1])
    return builder


def run(builder: GraphBuilder, **feeds: np.ndarray) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(builder.model().SerializeToString()).run(None, feeds)


def test_a_constant_used_twice_is_stored_once() -> None:
    builder = GraphBuilder("g")
    assert builder.constant([1, 2], np.int64) == builder.constant([1, 2], np.int64)
    assert builder.constant([1, 2], np.int64) != builder.constant([1, 2], np.int32)


def test_inlining_twice_keeps_names_apart() -> None:
    builder = GraphBuilder("outer")
    value = builder.input("value", "float32", ["B", 1])
    once = builder.inline(scale(3.0).model(), {"x": value})["y"]
    twice = builder.inline(scale(5.0).model(), {"x": once})["y"]
    builder.output(twice, "result", "float32", ["B", 1])
    np.testing.assert_array_equal(run(builder, value=np.array([[2.0]], np.float32))[0], [[30.0]])


def test_inlining_without_an_input_names_it() -> None:
    with pytest.raises(ValueError, match=r"no value for its inputs \['x'\]"):
        GraphBuilder("outer").inline(scale(1.0).model(), {})


def test_an_input_with_a_default_may_be_left_out() -> None:
    builder = GraphBuilder("g")
    words = builder.input("words", "string", ["N"], default=np.array(["absent"], dtype=object))
    builder.output(words, "out", "string", ["N"])
    assert run(builder)[0].tolist() == ["absent"]
    assert run(builder, words=np.array(["ä", ""], dtype=object))[0].tolist() == ["ä", ""]


def test_strings_keep_a_nul_at_their_end() -> None:
    builder = GraphBuilder("g")
    words = builder.input("words", "string", ["N"], default=np.array(["default\0"], dtype=object))
    for name, constant in (("one", "a\0"), ("several", ["\0", "b\0\0", "\0c"]), ("array", np.array(["d\0"], dtype=object))):
        builder.output(builder.constant(constant), name, "string", list(np.shape(constant)))
    builder.output(words, "out", "string", ["N"])
    one, several, array, out = run(builder)
    assert one.item() == "a\0"
    assert several.tolist() == ["\0", "b\0\0", "\0c"]
    assert array.tolist() == ["d\0"]
    assert out.tolist() == ["default\0"]


def test_constants_that_differ_in_a_nul_are_two() -> None:
    builder = GraphBuilder("g")
    assert builder.constant("a\0") != builder.constant("a")
    assert builder.constant(["a\0", "b"]) == builder.constant(np.array(["a\0", "b"], dtype=object))
