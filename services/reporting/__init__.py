"""reporting: who is left, per office and community, live; and the proof that it adds up."""
