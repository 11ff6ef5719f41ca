"""Every SAE that ``darkmatter train tiny`` trains: the suite in width and L0, and those that one comparison
needs."""

from __future__ import annotations

from dataclasses import dataclass

from .sae_training import SaeJob

D_MODEL = 128
L0 = 8.0
"""Active latents a token of the suite in width, and of every other suite."""
L0S = (4.0, 6.0, 8.0, 12.0, 16.0)
"""Of the grid."""
WIDTHS = tuple(D_MODEL * 2**k for k in range(6))
GRID_WIDTHS = WIDTHS[:4]
SEEDS = 3
"""Training seeds of the four smaller widths at ``L0``."""
SAMPLES = 3_000_000
"""Activations seen by each SAE."""
SITE, WINDOW = "blocks.2.hook_resid_post", (32, 255)
"""What `studies/tiny.yaml` says too: a test compares them."""

DEPTH_SITES = {layer: f"blocks.{layer}.hook_resid_post" for layer in (0, 1, 3)}
DEPTH_WIDTHS = (256, 1024)
OTHER_SITES = {"z": "blocks.2.attn.hook_z", "mlp": "blocks.2.hook_mlp_out"}
WIDTH = 1024
"""Of the suites "sites", "kinds" and "twin"."""
TWIN_SEED = 0
"""Seed of the random weights of the language model's twin."""


@dataclass(frozen=True)
class Planned:
    """An SAE to train and what it is trained for."""

    job: SaeJob
    suite: str = ""
    kind: str = "batchtopk"
    """What is trained: batchtopk (read as JumpReLU), topk, standard (L1) or frozen (batchtopk, random fixed
    decoder)."""
    random_weights: int | None = None
    """Seed of the random weights of the model that its activations come from; None: the trained ones."""


def jobs(site: str = SITE) -> list[SaeJob]:
    """The unnamed suite, dearest first, so that processes side by side end together."""
    wanted = [(width, L0, seed) for width in WIDTHS for seed in range(SEEDS if width in GRID_WIDTHS else 1)]
    wanted += [(width, l0, 0) for width in GRID_WIDTHS for l0 in L0S if l0 != L0]
    made = [SaeJob(id=_name(*w), site=site, width=w[0], l0=w[1], seed=w[2], samples=SAMPLES) for w in wanted]
    return sorted(made, key=lambda job: (-job.width, job.l0, job.seed))


def _name(width: int, l0: float, seed: int) -> str:
    return f"w{width}-l0-{l0:g}" + (f"-seed{seed}" if seed else "")


def others(site: str = SITE) -> list[Planned]:
    """The suites "kinds", "twin", "sites" and "depth", in the order of their training."""
    job = lambda id, width, site=site, **more: SaeJob(
        id=id, site=site, width=width, l0=L0, seed=0, samples=SAMPLES, **more
    )
    made = [
        Planned(job("kind-topk", WIDTH), "kinds", "topk"),
        Planned(job("kind-frozen", WIDTH), "kinds", "frozen"),
        Planned(job("kind-l1", WIDTH, lr=L1_RATE), "kinds", "standard"),
        Planned(job("twin-w1024", WIDTH), "twin", random_weights=TWIN_SEED),
    ]
    made += [
        Planned(job(f"site-{name}-w{WIDTH}", WIDTH, other), "sites") for name, other in OTHER_SITES.items()
    ]
    made += [
        Planned(job(f"depth-l{layer}-w{width}", width, other), "depth")
        for layer, other in DEPTH_SITES.items()
        for width in DEPTH_WIDTHS
    ]
    return made


L1_RATE = 2e-3
"""Learning rate of the L1 SAE, which has no step that revives latents as the others have."""


def planned(site: str = SITE) -> list[Planned]:
    """All of them."""
    return [Planned(job) for job in jobs(site)] + others(site)
