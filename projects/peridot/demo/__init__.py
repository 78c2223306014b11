"""The demo on synthetic streets: its methods and its report."""
