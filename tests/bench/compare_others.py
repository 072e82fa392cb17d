"""Times scikit-learn's nearest neighbours and ONNX Runtime's inference, for comparison with libmio. pace.py tells what is printed.

  compare_others.py knn   [--bank 50000 --queries 10000 --dim 512 --k 200]     needs scikit-learn
  compare_others.py embed --file NAME.onnx [--batch 1 --threads 2]             needs onnxruntime
"""
import argparse

import numpy

import pace


def make_knn(options):
    from sklearn.neighbors import NearestNeighbors
    random = numpy.random.default_rng(1)
    bank = random.standard_normal((options.bank, options.dim), dtype=numpy.float32)
    queries = random.standard_normal((options.queries, options.dim), dtype=numpy.float32)
    # On unit vectors the Euclidean order is the cosine order, and scikit-learn has its fastest search for it.
    if options.metric == "euclidean":
        bank /= numpy.linalg.norm(bank, axis=1, keepdims=True)
        queries /= numpy.linalg.norm(queries, axis=1, keepdims=True)
    neighbors = NearestNeighbors(n_neighbors=options.k, algorithm="brute", metric=options.metric).fit(bank)
    return lambda: neighbors.kneighbors(queries)


def make_embed(options):
    import onnxruntime
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0" if options.no_spin else "1")
    session = onnxruntime.InferenceSession(options.file, settings, providers=["CPUExecutionProvider"])
    images = numpy.random.default_rng(1).standard_normal((options.batch, 3, options.size, options.size), dtype=numpy.float32)
    return lambda: session.run(None, {"images": images})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("knn", "embed"))
    for name, value in (("batch", 1), ("size", 32), ("threads", 2), ("bank", 50000), ("queries", 10000), ("dim", 512),
                        ("k", 200)):
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--metric", choices=("cosine", "euclidean"), default="cosine")
    parser.add_argument("--no-spin", action="store_true")
    parser.add_argument("--file")
    pace.add_options(parser)
    options = parser.parse_args()
    pace.measure({options.work: {"knn": make_knn, "embed": make_embed}[options.work](options)}, options, vars(options))


if __name__ == "__main__":
    main()
