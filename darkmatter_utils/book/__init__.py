"""Machinery: records, chapters, staleness, running, rendering; no result follows from it."""
