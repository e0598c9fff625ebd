"""Lets the folders below import the modules that lie here."""
