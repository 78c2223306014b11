"""Textures of buildings: bricks, windows, shop fronts, roof tiles."""

from __future__ import annotations

import numpy as np

from streets.surface import Look, Surface, cells, hashed, mix


def brick(s: Surface) -> Look:
    """Bare bricks."""
    return Look(s.color * _brick_tone(s)[:, None])


def facade(s: Surface) -> Look:
    """A plastered wall with windows."""
    tone = 1 + 0.1 * s.noise('cloud', 12) + 0.05 * s.noise('grain', 60)
    return _windows(s, s.color * tone[:, None])


def brick_facade(s: Surface) -> Look:
    """A brick wall with windows."""
    return _windows(s, s.color * _brick_tone(s)[:, None])


def _brick_tone(s: Surface) -> np.ndarray:
    """Relative brightness (N,) of bricks and mortar."""
    row = np.floor(s.v / 0.09)
    x = s.u / 0.28 + 0.5 * np.mod(row, 2)
    tone = 0.85 + 0.35 * hashed(row, np.floor(x)) + 0.1 * s.noise('grain', 60)
    mortar = (abs(np.mod(s.v, 0.09) - 0.045) > 0.037) | (abs(np.mod(x, 1) - 0.5) > 0.45)
    near = np.clip(0.09 / np.maximum(s.footprint, 1e-3) - 0.5, 0, 1)
    return 1 + near * (np.where(mortar, 1.45, tone) - 1) + 0.1 * s.noise('cloud', 10)


def _windows(s: Surface, wall: np.ndarray) -> Look:
    """Cut rows of windows with frames, sills, curtains and a few lit rooms into a wall of colors (N, 3)."""
    column, fu = cells(s.u, s.extent[:, 0], 2.7)
    floor, fv = cells(s.v, s.extent[:, 1], 3.1)
    walls = (abs(s.up) < 0.5) & (s.extent[:, 0] > 2.0) & (s.extent[:, 1] > 2.5)
    x, y = abs(fu - 0.5), abs(fv - 0.53)
    wide = 0.2 + 0.1 * hashed(s.seed, np.float32(3.0))
    frame = walls & (x < wide + 0.035) & (y < 0.29)
    glass = walls & (x < wide) & (y < 0.26) & (x > 0.012)
    sill = walls & (x < wide + 0.06) & (abs(fv - 0.23) < 0.025)
    albedo = mix(wall, (0.6, 0.58, 0.55), np.where(frame, 0.85, 0.0))
    albedo = mix(albedo, wall * 0.55, np.where(sill, 1.0, 0.0))
    room = hashed(column, floor, s.seed * 50)
    pane = np.where((room > 0.72)[:, None], np.float32([0.4, 0.37, 0.32]), np.float32([0.045, 0.055, 0.07]))
    pane = pane * (0.7 + 0.6 * hashed(column, s.seed * 9))[:, None]
    albedo = np.where(glass[:, None], pane, albedo)
    glow = np.where(glass & (room < 0.05), 0.5, 0.0)
    return Look(albedo, np.where(glass, 0.45, 0.0), glow)


def curtain(s: Surface) -> Look:
    """A curtain wall of glass panes."""
    _, fu = cells(s.u, s.extent[:, 0], 1.5)
    floor, fv = cells(s.v, s.extent[:, 1], 1.55)
    glass = (abs(fu - 0.5) < 0.46) & (abs(fv - 0.5) < 0.46) & (abs(s.up) < 0.5)
    spandrel = np.mod(floor, 2) == 0
    tint = np.where(spandrel[:, None], s.color * 0.35, np.float32([0.05, 0.08, 0.1]))
    return Look(np.where(glass[:, None], tint, np.float32(0.4)), np.where(glass, 0.6, 0.1))


def shop(s: Surface) -> Look:
    """A shop front: a base, large panes with goods behind them, a sign above."""
    height = s.v
    column, fu = cells(s.u, s.extent[:, 0], 4.4)
    walls = abs(s.up) < 0.5
    tone = 1 + 0.12 * s.noise('cloud', 12)
    albedo = s.color * tone[:, None]
    pane = walls & (abs(fu - 0.5) < 0.4) & (height > 0.5) & (height < 2.6) & (abs(np.mod(fu * 3, 1) - 0.5) < 0.47)
    goods = hashed(np.floor(s.u / 0.35), np.floor(height / 0.4), s.seed)[:, None] * np.float32([0.25, 0.2, 0.17])
    board = walls & (abs(fu - 0.5) < 0.38) & (abs(height - 3.05) < 0.28)
    hue = np.stack([hashed(column, s.seed * factor) for factor in (31, 17, 57)], 1) ** 2 * 0.7
    letters = (
        board & (hashed(np.floor(s.u / 0.16), column) > 0.45) & (abs(height - 3.05) < 0.13) & (abs(fu - 0.5) < 0.25)
    )
    albedo = np.where(pane[:, None], 0.04 + goods * 0.8, albedo)
    albedo = np.where(board[:, None], hue, albedo)
    albedo = np.where(letters[:, None], np.float32([0.75, 0.74, 0.7]), albedo)
    return Look(albedo, np.where(pane, 0.35, 0.0), np.where(pane, 0.12, np.where(letters, 0.25, 0.0)))


def tiles(s: Surface) -> Look:
    """Roof tiles."""
    row, column = np.floor(s.v / 0.32), np.floor(s.u / 0.24)
    near = np.clip(0.25 / np.maximum(s.footprint, 1e-3), 0, 1)
    tone = (
        1 + near * (0.35 * (hashed(row, column) - 0.5) - 0.45 * (np.mod(s.v, 0.32) < 0.05)) + 0.15 * s.noise('cloud', 9)
    )
    return Look(s.color * tone[:, None])
