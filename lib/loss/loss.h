/* A loss is one row of a table: its name, its parameters and its mathematics on top of the pair engine. */
#ifndef MIO_LOSS_LOSS_H
#define MIO_LOSS_LOSS_H

#include "core/archive.h"
#include "loss/forces.h"

#include <math.h>
#include <mio/loss.h>

/** What a kind asks of its callers. */
enum {
    MIO__LOSS_LABELS = 1,         /* cannot do without labels */
    MIO__LOSS_INDICES = 2,        /* cannot do without indices */
    MIO__LOSS_ONE_PAIR = 4,       /* one pair is enough */
    MIO__LOSS_KEEP = 8,           /* the value needs what the passes add to the gradient */
    MIO__LOSS_TARGETS = 16,       /* takes mio_loss_set_targets */
    MIO__LOSS_QUEUE = 32,         /* takes mio_loss_set_queue */
    MIO__LOSS_STOP_GRADIENT = 64, /* holds constant, in its gradient, what moves with the rows: no function has it */
    MIO__LOSS_PREDICTIONS = 128,  /* its rows are predictions of the other view's targets */
    MIO__LOSS_KEYS = 256,         /* view 2 has constant keys, and no gradient */
    MIO__LOSS_DIRECTIONS = 512,   /* its Hessian by differences takes steps by the rows' lengths, and holds zero rows */
    MIO__LOSS_COLUMNS = 1024,     /* a function of the columns less their means */
    MIO__LOSS_MAY_LABEL = 2048    /* uses labels where there are some */
};

enum { MIO__LOSS_NAME_LIMIT = 100 }; /* bytes of a caller's own */

/** One kind of loss. `p` are the parameters' values in the table's order. */
typedef struct mio__loss_kind {
    const char *name;
    const mio__parameter *parameters;
    size_t parameter_count;
    /** Whether float would lose digits or range at these parameters; NULL: never. */
    int (*needs_double)(const double *p);
    /** Value of the batch that pairs holds; also writes the gradients that the batch asks for. Or: */
    double (*compute)(mio__pairs *pairs, const double *p);
    /** The same for a loss with memory or state of its own. It writes gradients only once nothing can fail any more. */
    mio_status (*run)(mio_loss *loss, double *value);
    /** Moves the state on by the batch just computed; run leaves it as it is. NULL: no state. */
    void (*advance)(mio_loss *loss);
    unsigned flags;
    mio__pair_storage storage;
    /** Bytes of loss->extra at this shape; 0 on overflow. NULL: none. */
    size_t (*extra)(const mio_loss *loss, const mio__pair_plan *plan);
    /** Fills in the terms that its forces have, for a batch that was taken in. NULL: its forces are not known in
        parts. */
    void (*terms)(const mio_loss *loss, mio__forces *forces);
    /** Writes the forces and their slopes. */
    void (*bend)(const mio_loss *loss, mio__forces *forces);
    /** Names of the learnable tensors, classes x dim each; where the name is a parameter's, that number. */
    const char *tensors[2];
} mio__loss_kind;

extern const mio__loss_kind mio__loss_mio, mio__loss_mio_decoupled;
extern const mio__loss_kind mio__loss_nt_xent, mio__loss_dcl, mio__loss_dclw, mio__loss_hcl;
extern const mio__loss_kind mio__loss_supcon, mio__loss_schane;
extern const mio__loss_kind mio__loss_sogclr;
extern const mio__loss_kind mio__loss_moco, mio__loss_nnclr;
extern const mio__loss_kind mio__loss_siglip;
extern const mio__loss_kind mio__loss_byol, mio__loss_simsiam;
extern const mio__loss_kind mio__loss_barlow_twins, mio__loss_vicreg;
extern const mio__loss_kind mio__loss_cam, mio__loss_prototype;
extern const mio__loss_kind mio__loss_custom;

/** A learnable tensor. The optimizer steps `value` by `gradient`; `value64` stands for it as long as it rounds to
    it. */
typedef struct mio__loss_tensor {
    const char *name;
    size_t rank, shape[2], count;
    double *value64, *gradient64; /* in double */
    float *value, *gradient;
} mio__loss_tensor;

/** The last unit vectors that a loss saw: count x width, padded with zeros to whole tiles of any edge. */
typedef struct mio__loss_queue {
    size_t count, dim, width, next;
    size_t element; /* 4: float, 8: double */
    void *rows;     /* NULL: to be filled from the context's seed */
} mio__loss_queue;

struct mio_loss {
    mio__references references;
    mio_context *context;
    mio__settings settings;
    const mio__loss_kind *kind;
    char *own_name; /* of a loss of the caller's */
    mio_loss_callback callback;
    mio__pairs pairs;
    void *extra; /* further work space of the kind */
    size_t extra_capacity;
    mio__gemm products[3]; /* of the kind, for this width */
    size_t product_width;

    /* given with mio_loss_set_batch: labels and indices, or 0 of them */
    size_t label_count, index_count;
    int32_t *labels;
    size_t *indices;
    size_t label_room, index_room;
    /* of the labels, found anew for each set of them */
    uint32_t *class_of;   /* per pair */
    uint32_t *class_size; /* per pair: how many images of its class the batch has */
    size_t class_room, class_size_room;
    /* given with mio_loss_set_targets: unit vectors, pairs x dim, where target_set */
    size_t target_pairs, target_dim;
    int target_set[2];
    double *targets[2];
    size_t target_room[2];

    /* state */
    mio__loss_tensor tensors[2];
    mio__loss_queue queue;
    double *log_moving; /* sogclr: log u by index; -infinity: not seen yet */
    size_t moving_count;

    int computed, advances; /* advances: the last batch moves the state on */
    size_t zero_rows;
    double mean_positive, mean_negative;
};

/** A row for a temperature: finite and above 0. */
#define MIO__TEMPERATURE(name, initial, meaning)                                                                       \
    {                                                                                                                  \
        name, MIO_PARAMETER_REAL, initial, 0, INFINITY, 1, 1, NULL, meaning, ""                                        \
    }
/** A row for a weight: finite and at least 0. */
#define MIO__WEIGHT(name, initial, meaning)                                                                            \
    {                                                                                                                  \
        name, MIO_PARAMETER_REAL, initial, 0, INFINITY, 0, 1, NULL, meaning, ""                                        \
    }
/** A row for a number of things: 1 or more. */
#define MIO__COUNT(name, initial, meaning, unit)                                                                       \
    {                                                                                                                  \
        name, MIO_PARAMETER_INTEGER, initial, 1, 1e9, 0, 0, NULL, meaning, unit                                        \
    }

/** The loss's parameter of that name, else its "temperature", else 0.5: that of estimates of mutual information. */
double mio__loss_temperature(const mio_loss *loss, const char *name);
/** 1 / temperature, finite however small that is. */
double mio__rate(double temperature);
/** Whether passes over tiles at this rate lose digits in float. */
static inline int mio__is_steep(double rate)
{
    return rate > MIO__PAIR_NARROW_RATE;
}
/** log(1 + exp(x)) and its derivative 1 / (1 + exp(-x)), for any x. */
double mio__softplus(double x);
double mio__sigmoid(double x);
/** log(exp(a) + exp(b)); either may be -infinity. */
double mio__log_add(double a, double b);

/** Whether a batch is computed in double whatever it is given in. */
int mio__loss_needs_double(const mio_loss *loss);
/** mio_loss_compute in two steps, for a caller who may have to take the batch back: the state moves on in the
    second. */
mio_status mio__loss_compute(mio_loss *loss, const mio__batch *batch, double *value);
void mio__loss_advance(mio_loss *loss);
/** Of a batch that mio__loss_compute took: writes zeros to a gradient that is asked for. */
void mio__loss_clear_gradient(const mio_loss *loss, size_t view);

/**
 * Mean cosine similarity of positive and of negative pairs in the last computed batch; both come for nothing.
 * Errors: MIO_ERROR_STATE before the first batch.
 */
mio_status mio__loss_similarities(const mio_loss *loss, double *positive, double *negative);

/** Fails for NULL and before the first batch. */
mio_status mio__loss_check_computed(const mio_loss *loss);
/** Makes room for the moving averages of this many images, unseen ones at first, in a loss that has any. */
mio_status mio__loss_reserve_indices(mio_loss *loss, size_t count);

/* ---- batch.c: what is given beside the rows ---- */

/** Checks labels, indices and targets against the shape of a batch and what the kind needs; gives the pair engine
    the classes. */
mio_status mio__loss_check_given(mio_loss *loss, size_t pairs, size_t dim);
void mio__loss_free_given(mio_loss *loss);
/** The unit vector, width values, of the target of a row, or of the row itself where none was given. */
void mio__loss_target(const mio_loss *loss, size_t view, size_t b, double *row);
/** to = from / |from|, zero for a zero row. Returns the index of a non-finite value, or dim. */
size_t mio__unit_row(size_t dim, size_t element, const void *from, double *to);

/* ---- tensors.c: what is learnt ---- */

/** Makes the tensors that can be made (dim 0: numbers alone), and checks the others against dim. */
mio_status mio__loss_make_tensors(mio_loss *loss, size_t dim);
void mio__loss_free_tensors(mio_loss *loss);
/** Brings the double values up to date with what an optimizer changed. */
void mio__loss_read_tensors(mio_loss *loss);
/** Copies the double gradients to where the optimizer reads them. */
void mio__loss_write_gradients(mio_loss *loss);
/** The arrays for an optimizer, once mio__loss_make_tensors has been called with a dim. */
size_t mio__loss_tensors(const mio_loss *loss, const mio__loss_tensor **tensors);

/* ---- queue.c ---- */

/** Makes the queue, or refuses a batch that does not fit it; element: what the batch's precision asks for at least. */
mio_status mio__queue_prepare(mio_loss *loss, size_t dim, size_t element);
/** Puts the unit vectors of a view's targets in place of the oldest rows. */
void mio__queue_push(mio_loss *loss, size_t view);
void mio__queue_free(mio_loss *loss);

/* ---- state.c: checkpoints ---- */

/** Writes tensors, queue and moving averages as records whose names begin with "loss/". */
mio_status mio__loss_write(const mio_loss *loss, mio__archive_writer *writer);
/**
 * Reads and checks them into a loss made for this alone, of the kind of `like` and with these settings; NULL for a loss
 * of the caller's own. What an archive does not have stays as in a new loss.
 */
mio_status mio__loss_read(const mio_loss *like, const mio__settings *settings, mio__archive *archive, mio_loss **state);
/** Takes over what was read; the arrays that an optimizer steps keep their places. Cannot fail. */
void mio__loss_take(mio_loss *loss, mio_loss *state);

#endif
