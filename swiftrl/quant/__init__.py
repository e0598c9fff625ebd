"""Weights in few bits: pure algorithms, formats of files, and the layers that compute on them."""
