"""What is no model is told by its name: adapters, other programs' weights, pointers, files."""

import pytest
import toys

from darkmatter_utils.adapters.hub import model_folder
from darkmatter_utils.base.errors import BadInput


@pytest.fixture
def model(tmp_path):
    return toys.model(tmp_path / "model")


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "adapters.safetensors"]
)
def test_an_adapter_is_refused_beside_weights_and_alone(model, name, tmp_path):
    (model / name).write_text("{}")
    with pytest.raises(BadInput, match=rf"an adapter lies beside its weights \({name}\); merge it"):
        model_folder(str(model))
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / name).write_text("{}")
    with pytest.raises(BadInput, match=rf"alone: it is an adapter \({name}\); merge it"):
        model_folder(str(tmp_path / "alone"))


@pytest.mark.parametrize(
    ("file", "kind"), [("model.onnx", "ONNX"), ("tf_model.h5", "TensorFlow"), ("weights.npz", "MLX")]
)
def test_weights_of_other_programs_are_named(model, file, kind):
    (model / file).write_bytes(b"weights")
    assert model_folder(str(model)) == model  # beside those that are read
    (model / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=f"its weights are {kind}'s, which are not read; a model is a transf"):
        model_folder(str(model))


def test_a_file_is_no_folder_and_says_what_would_be(model, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"weights")
    with pytest.raises(BadInput, match="no GGUF file; a model is a transformers folder .* or a GGUF file"):
        model_folder(str(tmp_path / "model.onnx"))
    with pytest.raises(BadInput, match=f"that file is no GGUF file; give its folder, {model}"):
        model_folder(str(model / "config.json"))
    with pytest.raises(BadInput, match="there is no such folder; a model is .* or a GGUF file"):
        model_folder(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="that folder has no config.json, nor a GGUF file"):
        model_folder(str(tmp_path / "empty"))


def test_a_pointer_to_weights_is_no_weights(model):
    (model / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")
    with pytest.raises(BadInput, match="model.safetensors is a Git LFS pointer, .*: git lfs pull"):
        model_folder(str(model))
