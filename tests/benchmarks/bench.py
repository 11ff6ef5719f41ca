"""Ratios measured in one run: `make bench`, or `bench.py` and any of the names below.

decompose   60,000 × 576 float32, 1,000 resamples, against five float64 `torch.linalg.lstsq` fits, each on
            four fifths of the rows: alone, and beside a process that multiplies matrices on two threads
memory      its peak above what the process held before, in units of both input arrays, by number of documents
harvest     `LanguageModel.read` up to layer 14 of 30 of a random Llama of SmolLM2's shape, against a plain
            transformers forward stopped there
sae         reconstructions of an SAE of 8 × d_model, against its two dense products
pursuit     gradient pursuit against a dense implementation of the same rule
wide        `measure` of an SAE of 131,072 and 1,048,576 latents against its estimate: memory and time

Contestants take turns, so that whatever else the machine does falls on both; the spread is that of the turns.
"""

import contextlib
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import bench_pursuit
import bench_wide
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import toys  # noqa: E402

from darkmatter_utils import decompose  # noqa: E402
from darkmatter_utils.adapters.models import load_model  # noqa: E402

TOKENS, D_MODEL, FOLDS, ROUNDS, LAYER = 60_000, 576, 5, 3, 14
NEIGHBOUR = "import torch; torch.set_num_threads(2); a = torch.randn(1500, 1500)\nwhile True: a @ a"


def arrays(documents=300, seed=0):
    """x, a reconstruction with an error that is half linear, and documents."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((TOKENS, D_MODEL), dtype=np.float32)
    b = rng.standard_normal((D_MODEL, D_MODEL), dtype=np.float32) / D_MODEL**0.5
    hat = x - 0.3 * (x @ b) - 0.3 * np.abs(x)
    return x, hat, np.sort(rng.integers(documents, size=TOKENS))


def lstsq_fits(x, error):
    for k in range(FOLDS):
        rest = torch.arange(TOKENS) % FOLDS != k
        torch.linalg.lstsq(x[rest], error[rest])


def turns(ours, theirs, rounds=ROUNDS) -> str:
    """Ours / theirs as median and range over the turns, the first of which is not counted."""
    taken = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        ours()
        between = time.perf_counter()
        theirs()
        taken.append((between - start, time.perf_counter() - between))
    ratios = [mine / other for mine, other in taken[1:]]
    mine, other = (statistics.median(column) for column in zip(*taken[1:]))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"{statistics.median(ratios):.2f} ({spread}; {mine:.2f} s against {other:.2f} s)"


@contextlib.contextmanager
def neighbour():
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR])
    try:
        time.sleep(3)
        yield
    finally:
        process.kill()
        process.wait()


def bench_decompose():
    x, hat, document = arrays()
    exact, error = torch.from_numpy(x).double(), torch.from_numpy(x - hat).double()
    jobs = lambda: decompose(x, hat, document=document), lambda: lstsq_fits(exact, error)
    print("decompose / five lstsq fits, alone:", turns(*jobs), flush=True)
    with neighbour():
        print("decompose / five lstsq fits, beside a neighbour:", turns(*jobs, rounds=1), flush=True)


def bench_memory():
    for documents in (60, 300, 3_000):
        subprocess.run([sys.executable, __file__, "peak", str(documents)], check=True)


def peak(documents: int):
    """In a process of its own: what another run has left there would be used again."""
    x, hat, document = arrays(documents)
    lines = lambda: Path("/proc/self/status").read_text().splitlines()
    held = lambda: 1024 * next(int(line.split()[1]) for line in lines() if line.startswith("RssAnon"))
    before = most = held()
    done = threading.Event()

    def watch():
        nonlocal most
        while not done.wait(0.003):
            most = max(most, held())

    watching = threading.Thread(target=watch)
    watching.start()
    decompose(x, hat, document=document)
    done.set()
    watching.join()
    share = (most - before) / (x.nbytes + hat.nbytes)
    print(f"peak of decompose / both arrays, {documents:,} documents: {share:.2f}", flush=True)


class _Stop(Exception):
    pass


def bench_harvest(contexts=4, length=512):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    heads = dict(num_attention_heads=9, num_key_value_heads=3)
    shape = dict(hidden_size=D_MODEL, intermediate_size=1536, num_hidden_layers=30, vocab_size=49_152)
    plain = LlamaForCausalLM(LlamaConfig(**shape, **heads, tie_word_embeddings=True)).eval()
    with tempfile.TemporaryDirectory() as folder:
        plain.save_pretrained(toys.tokenizer(folder))
        ours = load_model(folder)
    tokens, site, found = torch.randint(49_152, (contexts, length)), f"blocks.{LAYER}.hook_resid_post", []

    def stop(module, given, out):
        found[:] = [out[0] if isinstance(out, tuple) else out]
        raise _Stop

    plain.model.layers[LAYER].register_forward_hook(stop)

    def theirs():
        with torch.no_grad(), contextlib.suppress(_Stop):
            plain(tokens, use_cache=False)

    mine = ours.read(tokens, [site])[site]
    theirs()
    apart = float(((mine - found[0]).norm(dim=-1) / found[0].norm(dim=-1)).max())
    print(
        f"harvest / plain forward, {contexts} × {length}:", turns(lambda: ours.read(tokens, [site]), theirs)
    )
    print(f"harvest: at most {apart:.0e} of a token's norm apart", flush=True)


def bench_sae(width=8 * D_MODEL, l0=32, tokens=8_192):
    from darkmatter_utils.adapters.saes import load_any

    rng = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, D_MODEL, generator=rng)
    with tempfile.TemporaryDirectory() as folder:
        sae = load_any(saved_topk(folder, width, l0, rng))
    w = sae.sae

    @torch.no_grad()
    def dense():
        top = torch.relu((x - w.b_dec) @ w.W_enc + w.b_enc).topk(l0, dim=1)
        codes = torch.zeros(tokens, width).scatter_(1, top.indices, top.values)
        return codes @ w.W_dec + w.b_dec

    print("SAE / its dense products:", turns(lambda: sae.reconstruct(x), dense), flush=True)


def saved_topk(folder, width, l0, rng):
    from sae_lens import TopKSAE, TopKSAEConfig

    made = TopKSAE(TopKSAEConfig(d_in=D_MODEL, d_sae=width, k=l0))
    with torch.no_grad():
        made.W_enc.copy_(torch.randn(made.W_enc.shape, generator=rng))
        made.W_dec.copy_(made.W_enc.T / made.W_enc.norm(dim=0)[:, None])
    made.save_model(folder)
    return folder


def device() -> str:
    """The machine, in words."""
    cpus = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    load = Path("/proc/loadavg").read_text().split()[0]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none used"
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{len(cpus)} × {cpus[0]}, {torch.get_num_threads()} threads, GPU: {gpu}; {versions}; load {load}"


BENCHES = {
    "decompose": bench_decompose,
    "memory": bench_memory,
    "harvest": bench_harvest,
    "sae": bench_sae,
    "pursuit": lambda: bench_pursuit.main(torch.get_num_threads()),
    "wide": bench_wide.main,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        peak(int(sys.argv[2]))
    else:
        print(device(), flush=True)
        for name in sys.argv[1:] or BENCHES:
            BENCHES[name]()
