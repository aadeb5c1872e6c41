"""PointBLIP: stage 1 (`point_blip`) and stage 2 (`point_blip_llm`)."""
