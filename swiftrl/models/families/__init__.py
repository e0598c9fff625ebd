"""Model specifications by family: data only."""
