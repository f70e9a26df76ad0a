"""`fastmlp export`: a model as ONNX or as C source."""

import json
from pathlib import Path

import fastmlp
from fastmlp._cli.errors import CommandError
from fastmlp._cli.models import load_model
from fastmlp._cli.replacing import check_place, named_errors, replaced


def run(options):
    """Write a model in other formats."""
    if options.onnx is None and options.c is None:
        raise CommandError("export: add --onnx FILE or --c FILE")
    model = load_model(options.model)
    if options.c is not None and not hasattr(model, "to_c"):
        raise CommandError(
            f"--c: {options.model} holds a {type(model).__name__}, of which there is no C source; "
            "use --onnx"
        )
    written = []
    if options.onnx is not None:
        check_place(options.onnx)
        with named_errors(options.onnx):
            fastmlp.to_onnx(model, options.onnx)
        written.append(options.onnx)
    if options.c is not None:
        with replaced(options.c) as file:
            file.write(model.to_c().encode())
        written.append(options.c)
    files = [{"file": path, "bytes": Path(path).stat().st_size} for path in written]
    if options.json:
        print(json.dumps({"model": options.model, "written": files}))
        return
    for file in files:
        print(f"{file['file']} ({file['bytes']} bytes)")
