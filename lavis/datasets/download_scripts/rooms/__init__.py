"""Composition of rooms: objects, layouts, points, frames, expressions (prepare_rooms.py)."""
