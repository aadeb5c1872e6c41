"""Shared folders in the Hugging Face layout: encoders, the Q-Former, and every system.

    model, config = load_folder("hub/demo")          # any system
    encoder = PointBert.from_pretrained("hub/encoder")

Weights are safetensors; nothing of a folder is executed. `python -m lavis.evaluation.sharing`
exports a run with a card of its scores.
"""

from lavis.models.hub.folder import is_hub_folder, read_config
from lavis.models.hub.system import HubSystem, load_folder

__all__ = ["HubSystem", "is_hub_folder", "load_folder", "read_config"]
