"""How the embedded models and SAEs are made: corpus, language model, SAEs, shipping."""
