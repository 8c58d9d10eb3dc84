#!/bin/sh
# A truncated HDF5 file is refused when it is opened to be read, and read without an error when it is opened to be read while another
# program writes it (SWMR): what is missing is zeros.
#
# Guess before the run: reading data beyond the end of the file is an error in both modes.
# Seen (h5py 3.16.0): of 100 rows of numbers, the second half is zeros after the file was cut in half; h5py says nothing.
# What follows: who follows a growing trajectory needs a checksum or a count of whole frames in the file; so3md writes a checksum for each.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet "h5py==3.16.0" "numpy==2.3.5"
venv/bin/python -W error - <<'P'
import os

import h5py

with h5py.File("rows.h5", "w", libver="latest") as file:
    rows = file.create_dataset("rows", (0, 1000), maxshape=(None, 1000), chunks=(1, 1000), dtype="f8")
    for number in range(1, 101):
        rows.resize(number, axis=0)
        rows[number - 1] = number
os.truncate("rows.h5", os.path.getsize("rows.h5") // 2)

try:
    h5py.File("rows.h5", "r").close()
except OSError as error:
    print("opened to read: refused:", str(error)[:60])
else:
    raise SystemExit("the behaviour has changed: a truncated file is opened")
with h5py.File("rows.h5", "r", swmr=True) as file:
    found = file["rows"][:, 0]
print("opened with swmr=True: rows", found[[0, 10, 60, 99]].tolist(), "where 1, 11, 61, 100 were written")
assert found[0] == 1 and found[99] == 0, "the behaviour has changed"
P
echo "as described"
