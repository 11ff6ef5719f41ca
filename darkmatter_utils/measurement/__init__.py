"""A study measured, one SAE measured, arrays measured: streamed passes, their tables, their warnings."""
