"""Packs TrashNet's photographs at 32 px into train.parquet and test.parquet beside this file.

    pip install pillow==13.0.0 pyarrow==26.0.1
    python pack.py trashnet128.tar      # or the folder: train/<class>/*.jpg beside val/<class>/*.jpg
"""

import io
import json
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

SIDE = 32
QUALITY = 98  # the highest with which both files together stay below 2.9 MB
FILES = {"train": "train.parquet", "val": "test.parquet"}


def photographs(source):
    """(split, class, file name) and bytes of every JPEG of a folder or tar, in order."""
    if source.is_dir():
        found = [(path, path.read_bytes()) for path in source.rglob("*.jpg")]
    else:
        with tarfile.open(source) as tar:
            found = [(PurePosixPath(e.name), tar.extractfile(e).read()) for e in tar if e.name.endswith(".jpg")]
    return sorted((path.parts[-3:], encoded) for path, encoded in found)


def small(encoded):
    """The center square, scaled to 32 px with antialiasing, as JPEG without subsampling of colors."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB")
    out = io.BytesIO()
    # the best Huffman tables for each image, and no metadata
    ImageOps.fit(picture, (SIDE, SIDE), Image.Resampling.LANCZOS).save(
        out, "JPEG", quality=QUALITY, subsampling="4:4:4", optimize=True
    )
    return out.getvalue()


def main(source):
    rows = photographs(source)
    classes = sorted({name for (_, name, _), _ in rows})
    features = {"image": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema([("image", image), ("label", pa.int64())], metadata)
    for split, file in FILES.items():
        images, labels = [], []
        for (of, name, path), encoded in rows:
            if of == split:
                images.append({"bytes": small(encoded), "path": path})
                labels.append(classes.index(name))
        table = pa.table([pa.array(images, image), pa.array(labels)], schema)
        target = Path(__file__).parent / file
        pq.write_table(table, target, compression="zstd", compression_level=19, use_dictionary=False)
        print(f"{target}: {len(labels)} photographs, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
