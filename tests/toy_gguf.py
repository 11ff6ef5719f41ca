"""A small Llama with a byte-level tokenizer, and the same as a GGUF file, by llama.cpp's own package."""

import json

import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = "the of and to in that it is was for on with as his they at be this from have or by one had".split()
SHAPE = dict(
    hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
)
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def tokenizer():
    """(the tokenizer, its vocabulary by id, its merges)."""
    made = ByteLevelBPETokenizer()
    made.train_from_iterator(
        [" ".join(WORDS)] * 4, vocab_size=300, special_tokens=["<s>", "</s>"], show_progress=False
    )
    state = json.loads(made._tokenizer.to_str())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["merges"]]
    words = sorted(state["vocab"], key=state["vocab"].get)
    fast = PreTrainedTokenizerFast(tokenizer_object=made._tokenizer, bos_token="<s>", eos_token="</s>")
    return fast, words, merges


def model(vocabulary):
    """A random Llama with livelier weights than it starts from."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=vocabulary, max_position_embeddings=64, tie_word_embeddings=True, **SHAPE)
    made = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(3) if weight.ndim > 1 else weight.add_(0.1 * torch.randn_like(weight))
    return made


def _turned(weight, heads):
    """llama.cpp's order of the rows of queries and keys: the halves of a head's rotation interleaved."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def write(path, made, words, merges, *, kind=GGMLQuantizationType.F32, architecture="llama"):
    """The model as a GGUF file, matrices of whole blocks quantised as ``kind``."""
    config, file = made.config, GGUFWriter(path, architecture)
    file.add_context_length(config.max_position_embeddings)
    file.add_block_count(config.num_hidden_layers)
    file.add_embedding_length(config.hidden_size)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_head_count(config.num_attention_heads)
    file.add_head_count_kv(config.num_key_value_heads)
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    file.add_rope_freq_base(10_000.0)
    file.add_vocab_size(config.vocab_size)
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("default")
    file.add_token_list(words)
    file.add_token_types([3, 3, *[1] * (len(words) - 2)])
    file.add_token_merges(merges)
    file.add_bos_token_id(0)
    file.add_eos_token_id(1)
    for name, weight in made.model.state_dict().items():
        if name.startswith("layers."):
            _, layer, rest = name.split(".", 2)
            place = rest.removesuffix(".weight")
            name = f"blk.{layer}.{NAMES[place]}.weight"
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
            weight = _turned(weight, heads[NAMES[place]]) if NAMES[place] in heads else weight
        else:
            name = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}[name]
        array = weight.float().contiguous().numpy()
        if array.ndim == 2 and kind != GGMLQuantizationType.F32:
            file.add_tensor(name, quants.quantize(array, kind), raw_dtype=kind)
        else:
            file.add_tensor(name, array)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path
