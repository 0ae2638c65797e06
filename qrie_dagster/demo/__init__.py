"""The demonstration: an emulated organisation, deterministic, and what is true of it."""
