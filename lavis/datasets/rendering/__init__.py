"""Images, depth, normals and object ids of meshes by ray casting, with exact correspondence."""
