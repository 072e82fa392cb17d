{
  "targets": [{
    "target_name": "mio",
    "sources": [
      "src/addon.c", "src/analysis.c", "src/augment.c", "src/call.c", "src/context.c", "src/data.c", "src/encoder.c",
      "src/evaluate.c", "src/loss.c", "src/optim.c", "src/task.c", "src/train.c"
    ],
    "cflags": ["-std=c11", "<!@(pkg-config --cflags mio)"],
    "libraries": ["<!@(pkg-config --libs mio)"]
  }]
}
