"""Point cloud files of users, one file a family of formats: `read_cloud` in files.py reads all."""
