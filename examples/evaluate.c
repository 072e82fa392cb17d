/* What an encoder has learned, measured on a labelled dataset: nearest neighbours, a linear classifier on its features,
   fine-tuning on few labels; beside them the same network untrained, and the raw pixels. */
#include "common.h"
#include "evaluation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: evaluate ENCODER --dataset FORMAT PATH [options]\n"
    "  --train SPLIT, --test SPLIT          default train and test\n"
    "  --knn moco|dino|both|none            k 200, T 0.1 (default); k 20, T 0.07\n"
    "  --probe exact|sgd|both|none          linear classifier: to its optimum (default); the MIO paper's\n"
    "  --raw                                k-NN on the pixels besides\n"
    "  --untrained                          the same network with fresh random weights besides\n"
    "  --finetune FRACTION[,FRACTION...]    trains encoder and classifier on these parts of the labels\n"
    "  --epochs N, --augment NAME           of the fine-tuning\n"
    "  --threads N, --seed N\n"
    "  --json FILE                          the results as a JSON array\n"
    "exit code: 0 done; 1 failed; 2 wrong arguments\n";

typedef struct options {
    const char *encoder, *format, *path, *train, *test, *knn, *probe, *finetune, *augment, *json;
    double epochs, threads, seed; /* epochs, threads: 0 the library's own */
    bool raw, untrained;
} options;

static const char *choice(arguments *line, const char *owner, const char *const *names)
{
    const char *text = value(line, owner);
    for (; *names; names++)
        if (!strcmp(text, *names))
            return text;
    leave(EXIT_USAGE, "%s does not know '%s'; see --help", owner, text);
}

static options read_options(arguments line)
{
    static const char *const knn[] = {"moco", "dino", "both", "none", NULL};
    static const char *const probe[] = {"exact", "sgd", "both", "none", NULL};
    options o = {.train = "train", .test = "test", .knn = "moco", .probe = "exact", .augment = "mio-paper"};
    while (line.next < line.count) {
        if (option(&line, "--dataset"))
            o.format = value(&line, "--dataset"), o.path = value(&line, "--dataset");
        else if (option(&line, "--train"))
            o.train = value(&line, "--train");
        else if (option(&line, "--test"))
            o.test = value(&line, "--test");
        else if (option(&line, "--knn"))
            o.knn = choice(&line, "--knn", knn);
        else if (option(&line, "--probe"))
            o.probe = choice(&line, "--probe", probe);
        else if (option(&line, "--raw"))
            o.raw = true;
        else if (option(&line, "--untrained"))
            o.untrained = true;
        else if (option(&line, "--finetune"))
            o.finetune = value(&line, "--finetune");
        else if (option(&line, "--epochs"))
            o.epochs = number(&line, "--epochs", 1, 1e6);
        else if (option(&line, "--augment"))
            o.augment = value(&line, "--augment");
        else if (option(&line, "--threads"))
            o.threads = number(&line, "--threads", 1, 1024);
        else if (option(&line, "--seed"))
            o.seed = number(&line, "--seed", 0, 9007199254740991.0);
        else if (option(&line, "--json"))
            o.json = value(&line, "--json");
        else if (option(&line, "--help"))
            exit(fputs(usage, stdout) < 0);
        else if (o.encoder || !(o.encoder = optional_value(&line)))
            unknown_argument(&line);
    }
    if (!o.encoder || !o.path)
        leave(EXIT_USAGE, "an encoder's file and --dataset are needed; see --help");
    return o;
}

/* k-NN and linear classifiers on frozen features. */
static void measure(evaluation *e, const char *encoder, const options *o, size_t dim, float *train, float *test)
{
    const features f = {dim, train, test};
    if (!strcmp(o->knn, "moco") || !strcmp(o->knn, "both"))
        evaluate_knn(e, encoder, &f, 200, 0.1);
    if (!strcmp(o->knn, "dino") || !strcmp(o->knn, "both"))
        evaluate_knn(e, encoder, &f, 20, 0.07);
    if (!strcmp(o->probe, "exact") || !strcmp(o->probe, "both"))
        evaluate_linear(e, encoder, &f, "exact");
    if (!strcmp(o->probe, "sgd") || !strcmp(o->probe, "both"))
        evaluate_linear(e, encoder, &f, "sgd");
    free(train);
    free(test);
}

static void measure_encoder(evaluation *e, const char *name, const options *o, mio_encoder *encoder)
{
    size_t dim;
    float *train = features_of(encoder, e->train, &dim), *test = features_of(encoder, e->test, &dim);
    measure(e, name, o, dim, train, test);
    mio_encoder_release(encoder);
}

/* The next fraction of --finetune; *text moves on to the one after it. */
static double next_fraction(const options *o, const char **text)
{
    char *end;
    const double fraction = strtod(*text, &end);
    if (end == *text || (*end && *end != ','))
        leave(EXIT_USAGE, "--finetune takes fractions between commas, not '%s'", o->finetune);
    *text = *end ? end + 1 : end;
    return fraction;
}

/* Before anything is measured. */
static void check_finetuning(mio_encoder *encoder, const options *o)
{
    mio_finetune *finetune;
    check(mio_finetune_create(encoder, &finetune));
    for (const char *text = o->finetune; *text;)
        check(mio_finetune_set(finetune, "label_fraction", next_fraction(o, &text)));
    mio_finetune_release(finetune);
}

static void measure_finetuning(evaluation *e, const options *o)
{
    for (const char *text = o->finetune; *text;)
        evaluate_finetuning(e, o->encoder, next_fraction(o, &text), o->epochs, o->augment);
}

int main(int argc, char **argv)
{
    const options o = read_options(arguments_of(argc, argv));
    evaluation e = {.json = NULL};
    mio_encoder *encoder;
    check(mio_context_create(&e.context));
    check(mio_context_set(e.context, "seed", o.seed));
    if (o.threads > 0)
        check(mio_context_set(e.context, "threads", o.threads));
    check(mio_encoder_load(e.context, o.encoder, &encoder));
    if (o.finetune)
        check_finetuning(encoder, &o);
    e.train = dataset_for(e.context, encoder, o.format, o.path, o.train);
    e.test = dataset_for(e.context, encoder, o.format, o.path, o.test);
    evaluation_begin(&e, o.json);
    if (o.raw) {
        size_t dim;
        float *train = pixels_of(e.train, &dim), *test = pixels_of(e.test, &dim);
        options knn_only = o;
        knn_only.probe = "none";
        measure(&e, "raw pixels", &knn_only, dim, train, test);
    }
    if (o.untrained)
        measure_encoder(&e, "untrained", &o, untrained_copy(e.context, o.encoder, (uint64_t)o.seed));
    measure_encoder(&e, "trained", &o, encoder);
    if (o.finetune)
        measure_finetuning(&e, &o);
    evaluation_end(&e);
    return 0;
}
