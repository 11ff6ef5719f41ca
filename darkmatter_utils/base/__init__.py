"""What all else stands on: errors, words, values, the cache, which code a result follows from."""
