"""Check of everything that a run reads, before networks are built."""
