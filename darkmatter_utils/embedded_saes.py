"""Train the embedded study's SAEs side by side and write the shipped folder: the last stages of ``darkmatter train``."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from . import cache, corpus, embedded
from .sae_training import SaeJob, train_sae
from .saes import load_sae, shrink, threshold_for
from .study import DATA, SaeEntry, Study

D_MODEL = 128
L0 = 8.0
"""Active latents a token of the suite in width."""
L0S = (4.0, 6.0, 8.0, 12.0, 16.0)
"""Of the grid."""
WIDTHS = tuple(D_MODEL * 2**k for k in range(6))
GRID_WIDTHS = WIDTHS[:4]
SEEDS = 3
"""Training seeds of the four smaller widths at ``L0``."""
SAMPLES = 3_000_000
"""Activations seen by each SAE."""


def jobs(site: str) -> list[SaeJob]:
    """Every SAE of the suite, dearest first, so that processes side by side end together."""
    wanted = [(width, L0, seed) for width in WIDTHS for seed in range(SEEDS if width in GRID_WIDTHS else 1)]
    wanted += [(width, l0, 0) for width in GRID_WIDTHS for l0 in L0S if l0 != L0]
    made = [SaeJob(id=_name(*w), site=site, width=w[0], l0=w[1], seed=w[2], samples=SAMPLES) for w in wanted]
    return sorted(made, key=lambda job: (-job.width, job.l0, job.seed))


def _name(width: int, l0: float, seed: int) -> str:
    return f"w{width}-l0-{l0:g}" + (f"-seed{seed}" if seed else "")


def train_one(job: SaeJob, build: Path) -> str:
    """Train, shrink to float16, set the threshold to the asked L0 on the score set, count dead latents."""
    torch.set_num_threads(1)
    folder = build / "saes" / job.id
    if not (folder / "card.json").exists():
        train_sae(job, np.load(build / "activations" / "training.npy", mmap_mode="r"), folder, log=_say)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        shrink(folder)
        entry = SaeEntry(id=job.id)
        score = torch.from_numpy(np.load(build / "activations" / "score.npy"))
        shrink(folder, threshold_for(load_sae(entry, folder, d_model=score.shape[1]).sae, score, job.l0))
        sae = load_sae(entry, folder, d_model=score.shape[1])
        fires = sae.firing(score) + sae.firing(torch.from_numpy(np.load(build / "activations" / "component.npy")))
        x_hat, l0 = sae.reconstruct(score)
        fvu = float((score - x_hat).pow(2).sum() / (score - score.mean(0)).pow(2).sum())
        card = dict(l0=float(l0.double().mean()), fvu=fvu, dead=float((fires == 0).double().mean()))
        (folder / "card.json").write_text(json.dumps(card))
        _say(f"sae: {job.id} held out: L0 {card['l0']:.3f}, FVU {fvu:.4f}, dead {card['dead']:.3f}")
    return job.id


def _say(line: str) -> None:
    print(line, flush=True)


def train(*, workers: int = 2, build: Path = Path("build/tiny"), out: Path | None = None, log=_say) -> Path:
    """All stages, from the installed sources to the shipped folder; returns that folder.

    Goes on from what ``build`` holds. Cost: see the manifest's ``seconds``; single-threaded processes side by side.
    """
    study = Study.of(dict(name="tiny", title="", site=SITE, model="model", data="tiny", text="score",
                          window=list(WINDOW), saes=[dict(id="none")]))  # fmt: skip
    torch.set_num_threads(workers)
    embedded.prepare(build, log=log)
    embedded.finish_model(build, log=log)
    embedded.activations(build, study.site, study.window, log=log)
    todo = jobs(study.site)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        results = [pool.apply_async(train_one, (job, build)) for job in todo]
        for i, result in enumerate(results):
            result.get()
            log(f"saes: {i + 1} of {len(todo)} done")
    return ship(build, out or DATA / "tiny", todo)


SITE, WINDOW = "blocks.2.hook_resid_post", (32, 255)
"""What `studies/tiny.yaml` says too: a test compares them."""


def ship(build: Path, out: Path, todo: list[SaeJob]) -> Path:
    """Copy what the package carries and write its manifest; the old folder is replaced in one step."""
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(build / "model" / "saved", part / "model")
    held = dict(np.load(build / "held_out.npz"))
    np.savez_compressed(part / "tokens.npz", **held)
    text = json.loads((build / "text.json").read_text())
    notices = text.pop("held_out_licences")
    (part / "NOTICES.txt").write_text("\n\n".join(
        f"{'=' * 80}\n{name}: token ids of its source files are in tokens.npz\n{'=' * 80}\n{notice}"
        for name, notice in notices.items()
    ) + "\n")  # fmt: skip
    entries, curves, cards = [], {}, {}
    for job in sorted(todo, key=lambda j: (j.width, j.l0, j.seed)):
        folder, path = build / "saes" / job.id, f"saes/{job.id}"
        (part / path).mkdir(parents=True)
        for name in ("cfg.json", "sae_weights.safetensors"):
            shutil.copy(folder / name, part / path / name)
        card, training = (json.loads((folder / name).read_text()) for name in ("card.json", "training.json"))
        entries.append(dict(id=job.id, kind="jumprelu", width=job.width, l0=job.l0, site=job.site, seed=job.seed,
                            main=job.l0 == L0, dead=card["dead"], path=path))  # fmt: skip
        curves[job.id] = training["curve"]
        cards[job.id] = card | {k: training[k] for k in ("seconds", "samples", "batch", "lr")}
    model = json.loads((build / "model" / "held_out.json").read_text())
    files = {
        p.relative_to(part).as_posix(): dict(bytes=p.stat().st_size, sha256=cache.sha256(p))
        for p in sorted(part.rglob("*")) if p.is_file()
    }  # fmt: skip
    table: dict[str, int] = {}
    for name, about in files.items():
        group = name.split("/")[0]
        table[group] = table.get(group, 0) + about["bytes"]
    manifest = dict(
        made_by="darkmatter train tiny", python=sys.version.split()[0], versions=cache.versions(),
        megabytes={k: round(v / 1e6, 3) for k, v in table.items()} | {"total": round(sum(table.values()) / 1e6, 3)},
        model=dict(parameters=model["parameters"], tokens_seen=model["curve"][-1]["tokens"],
                   seconds=model["curve"][-1]["seconds"], curve=model["curve"]),
        held_out=model["held_out"], text=text, held_out_distributions=list(corpus.HELD_OUT),
        saes=entries, sae_cards=cards, sae_curves=curves, files=files,
    )  # fmt: skip
    (part / "manifest.json").write_text(json.dumps(manifest, separators=(",", ":")) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return out
