/* libmio: everything. In the order in which an image becomes a gradient and a result. */
#ifndef MIO_MIO_H
#define MIO_MIO_H

#include <mio/common.h>
#include <mio/context.h>
#include <mio/data.h>
#include <mio/augment.h>
#include <mio/encoder.h>
#include <mio/loss.h>
#include <mio/analysis.h>
#include <mio/optim.h>
#include <mio/train.h>
#include <mio/evaluate.h>

#endif
