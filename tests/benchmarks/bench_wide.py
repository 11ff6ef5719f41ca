"""`darkmatter measure` of an SAE of 131,072 and of 1,048,576 latents, against the estimate."""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from darkmatter_utils.measurement import estimate
from darkmatter_utils.measurement.one_sae import plan
from darkmatter_utils.studies.recipes import Request
from darkmatter_utils.studies.study import Study

WIDTHS, DOCUMENTS = (1 << 17, 1 << 20), 12
RUN = "import sys; from darkmatter_utils.cli import main; sys.exit(main(sys.argv[1:]))"


def saved(folder, d_model, width, *, dtype=np.float32):
    """A random SAE in Gemma Scope 2's format, few of whose latents fire."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((width, d_model), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    made = dict(w_enc=np.ascontiguousarray(rows.T), w_dec=rows / 50, b_enc=np.zeros(width))
    made |= dict(b_dec=np.zeros(d_model), threshold=np.full(width, 48.0))
    save_file({name: value.astype(dtype) for name, value in made.items()}, folder / "params.safetensors")
    return folder


def main():
    model = str(Study.load("tiny").data_folder() / "model")
    asked = dict(documents=DOCUMENTS, positions=(32, 256), site="blocks.2.hook_resid_post")
    for width in WIDTHS:
        with tempfile.TemporaryDirectory() as made:
            sae = str(saved(Path(made), 128, width))
            work = estimate.of_plan(plan(Request(model=model, sae=sae, **asked)))
            said, needs = work.seconds(nulls=True), work.memory()["host"]
            given = ["measure", "--model", model, "--sae", sae, "--site", asked["site"]]
            given += ["--documents", str(DOCUMENTS), "--positions", "32:256"]
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", RUN, *given], check=True, capture_output=True)
            took = time.perf_counter() - began
        most = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # the wider one comes last
        print(
            f"measure / as estimated, {width:,} latents of 128 dimensions: memory {most / needs:.2f} "
            f"({most / 1e9:.2f} GB), time {took / said:.2f} ({took:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
