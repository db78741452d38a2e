//! Headers that belong to one hop, and those that follow a request through the mesh.
