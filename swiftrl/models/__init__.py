"""Model registry, resolution, loading and adapters."""
