"""Repairs of upstream defects, one file each; a repair acts only where its defect is present."""


def apply() -> None:
    """Apply every repair whose defect is present (idempotent)."""
