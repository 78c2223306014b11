"""What runs before anything is installed: standard library only, from Python 3.10."""
