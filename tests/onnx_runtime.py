"""Runs an exported colorizer in ONNX Runtime over recurrent frames: MODEL FRAMES.f32 OUT.f32 COUNT."""

import sys

import numpy as np
import onnx
import onnxruntime

model_path, frames_path, out_path, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
model = onnx.load(model_path)
onnx.checker.check_model(model, full_check=True)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model_path, options, providers=["CPUExecutionProvider"])
shapes = {i.name: i.shape for i in session.get_inputs()}
frames = np.fromfile(frames_path, dtype="<f4").reshape([count] + shapes["lightness"])
states = {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if name != "lightness"}
outputs = [o.name for o in session.get_outputs()]
logits = []
for frame in frames:
    values = dict(zip(outputs, session.run(None, {"lightness": frame, **states})))
    logits.append(values["color_logits"])
    states = {name: values[name.replace("_in", "_out")] for name in states}
np.stack(logits).astype("<f4").tofile(out_path)
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
