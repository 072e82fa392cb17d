{
  "targets": [{
    "target_name": "mio",
    "sources": ["addon.c"],
    "cflags": ["-std=c11", "<!@(pkg-config --cflags mio)"],
    "libraries": ["<!@(pkg-config --libs mio)"]
  }]
}
