"""A Python engine behind the line protocol of worker.rs: peer.py ENGINE MODEL FRAMES.f32 THREADS OUTPUTS.f32 STEPS."""

import sys
import time


def onnxruntime_step(model, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    begin = time.perf_counter()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    load = time.perf_counter() - begin
    shapes = {i.name: i.shape for i in session.get_inputs()}
    outputs = [o.name for o in session.get_outputs()]
    run = session.run
    return shapes, outputs, lambda feed: run(None, feed), load, onnxruntime.__version__


def openvino_step(model, threads):
    import openvino

    core = openvino.Core()
    begin = time.perf_counter()
    compiled = core.compile_model(
        model, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    )
    load = time.perf_counter() - begin
    request = compiled.create_infer_request()
    shapes = {i.any_name: list(i.shape) for i in compiled.inputs}
    outputs = [o.any_name for o in compiled.outputs]

    def step(feed):
        results = request.infer(feed, share_inputs=True, share_outputs=True)
        # The state goes back in: what the next step writes over must be a copy.
        return [results[i] if i == 0 else results[i].copy() for i in range(len(outputs))]

    return shapes, outputs, step, load, openvino.__version__.split("-")[0]


def peak_memory_mb():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


def main():
    import numpy as np

    engine, model, frames_path, threads, outputs_path, steps = sys.argv[1:]
    make = {"onnxruntime": onnxruntime_step, "openvino": openvino_step}[engine]
    shapes, outputs, step, load, version = make(model, int(threads))
    frames = np.fromfile(frames_path, dtype="<f4").reshape([-1] + list(shapes["lightness"]))
    # The same float arithmetic as `contract::scaled_lightness`.
    frames = [(frame - np.float32(50.0)) / np.float32(100.0) for frame in frames]
    feed = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    states = [(name, outputs.index(name.replace("_in", "_out"))) for name in shapes if name != "lightness"]
    picture = next(i for i, name in enumerate(outputs) if not name.startswith("state_"))
    number = 0

    def advance():
        nonlocal number
        feed["lightness"] = frames[number % len(frames)]
        number += 1
        values = step(feed)
        for name, at in states:
            feed[name] = values[at]
        return values[picture]

    with open(outputs_path, "wb") as file:
        for _ in range(int(steps)):
            advance().astype("<f4").tofile(file)
    print("ready", load * 1e3, version, flush=True)
    for line in sys.stdin:
        request = line.strip()
        if request == "memory":
            print("memory", peak_memory_mb(), flush=True)
            continue
        times = []
        for _ in range(int(request)):
            begin = time.perf_counter()
            advance()
            times.append((time.perf_counter() - begin) * 1e3)
        print("ms", *times, flush=True)


try:
    main()
except Exception as error:  # Whatever an engine raises, it is a reason to leave it out.
    print("failed", type(error).__name__ + ":", " ".join(str(error).split())[:300], flush=True)
