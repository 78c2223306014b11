"""Builders of what stands and moves on a street, one function for each kind of object.

Each takes a generator `rng`, which varies sizes, colors and parts, and returns a `Mesh` in meters whose x axis points
forward and whose lowest point is near z = 0.
"""
