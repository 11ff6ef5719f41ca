"""Simulated activations where every part is known: worlds, oracles, null SAEs, where a part lands."""
