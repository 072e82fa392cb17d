"""Writes probe.txt: optima of multinomial logistic regression.

Run:  /usr/bin/python3 make_probe.py
Needs numpy and scikit-learn (made with 1.2.1).
"""
import numpy as np
from sklearn.linear_model import LogisticRegression

import formula

STREAM_PROBE = 0xc00000
ROWS, DIM, CLASSES = 90, 6, 3
PENALTIES = (1e-1, 1e-2, 1e-4)

HEADER = """
Row r (%d rows of %d) has label r mod %d; its value in column d is float32 of signed(PROBE, %d r + d) times (d + 1), plus
1.5 where d equals the label, plus 10 d. Columns are brought to mean 0 and population deviation 1. The optimum of mean
cross-entropy + penalty times the squared weights (biases free, of sum 0), by scikit-learn in float64:
penaltyP/weights (class by class), penaltyP/bias, penaltyP/value for P in 0.1, 0.01, 0.0001.
""" % (ROWS, DIM, CLASSES, DIM)


def main():
    index = np.arange(ROWS * DIM).reshape(ROWS, DIM)
    labels = np.arange(ROWS) % CLASSES
    column = np.arange(DIM)
    x = formula.signed(STREAM_PROBE, index) * (column + 1) + 1.5 * (column == labels[:, None]) + 10.0 * column
    x = x.astype(np.float32).astype(np.float64)
    x = (x - x.mean(0)) / x.std(0)
    out = formula.Writer("probe.txt")
    out.comment(HEADER)
    for penalty in PENALTIES:
        fit = LogisticRegression(C=1 / (2 * ROWS * penalty), tol=1e-12, max_iter=100000).fit(x, labels)
        logits = x @ fit.coef_.T + fit.intercept_
        logits -= logits.max(1, keepdims=True)
        loss = (np.log(np.exp(logits).sum(1)) - logits[np.arange(ROWS), labels]).mean()
        out.record("penalty%g/weights" % penalty, fit.coef_)
        out.record("penalty%g/bias" % penalty, fit.intercept_ - fit.intercept_.mean())
        out.record("penalty%g/value" % penalty, [loss + penalty * (fit.coef_ ** 2).sum()])
    out.close()


if __name__ == "__main__":
    main()
