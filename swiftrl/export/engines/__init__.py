"""One file a package that quantises in our place: what it makes, and a program that has it done.

The program runs by itself, in the package's own environment, so a file imports nothing of swiftrl.
"""
