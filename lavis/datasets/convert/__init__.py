"""Convert the user's meshes or clouds and texts into a folder to train and evaluate on.

    python -m lavis.datasets.convert my_meshes/ --captions captions.csv --out data/mine

scan            files of a folder, ids of objects
tables, columns, texts   rows of a table, what its columns mean, joined with the objects
tasks           one file: read, sample, pack; a pure function for any engine
mesh, mesh_files, mesh_checks, nearby_files   meshes as coloured parts, safely read
shape_key       keys of equal shapes
up_axis         which axis is up
engines         processes of this machine; ray_engine: processes of many machines
work            finished pieces, kept until the folder is whole
pack, splits, annotations, report, contact_sheet, preview   the folder
options         what to convert
convert         all of it, in order
"""
