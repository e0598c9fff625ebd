"""Servers that behave as the vendors document, for tests of export, and a way that fails."""
