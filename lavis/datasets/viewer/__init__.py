"""Rotatable point clouds in HTML pages that load nothing: encoding, script, style, policy."""
