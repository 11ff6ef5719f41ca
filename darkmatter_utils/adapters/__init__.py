"""The storey that knows model and SAE libraries (training does, too): models, SAEs, formats, texts."""
