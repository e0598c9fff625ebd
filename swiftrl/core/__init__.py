"""Foundations without hardware or models: errors, registry, configuration, messages."""
