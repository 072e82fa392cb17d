/* Times libmio's jobs, one a process, through its public interface: ours JOB [--option value ...]; pace.h tells the
   common options. The jobs' own:

   step     one training step of a ResNet on two views          --depth --width --batch --size --hidden --out
   loss     value and gradients of a loss, ten classes           --name --pairs --dim
   augment  one view of each image of a batch                   --batch --size --preset (--threads 1)
   embed    features of byte images                             --depth --width --batch --size, or --file
   knn      the nearest bank rows of each query                 --bank --queries --dim --k
   epoch    a whole epoch of training with augmentation         --depth --width --batch --images --hidden --out
   names    prints the names of the losses
   save     writes an encoder to --file for "embed" and "start"
   start    loads --file, embeds one image, prints "embedded": to be timed from outside

   --algorithm exact|accurate|fast and --precision fp32|bf16 where there is an encoder; --threads (2) everywhere. */
#include "pace.h"

#include <mio/mio.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything that a job may need; each fills its own part. */
typedef struct job {
    const bench_options *options;
    mio_context *context;
    mio_encoder *encoder;
    mio_loss *loss;
    mio_optimizer *optimizer;
    mio_loader *loader;
    mio_trainer *trainer;
    mio_knn *knn;
    size_t batch, size, out, pairs, dim, queries, neighbours, steps;
    float *images, *features, *z, *gradients;
    float *similarities;
    size_t *indices;
    unsigned char *pixels;
} job;

static void make_encoder(job *j, int projected)
{
    const bench_options *o = j->options;
    mio_builder *builder = NULL;
    bench_require(mio_builder_create(j->context, 3, j->size, j->size, &builder));
    const mio_node h = mio_builder_resnet(builder, mio_builder_input(builder), (int32_t)bench_size(o, "depth", 18),
                                          bench_size(o, "width", 64), MIO_STEM_SMALL);
    const mio_node z = projected ? mio_builder_projector(builder, h, 2, bench_size(o, "hidden", 2048), j->out) : -1;
    bench_require(mio_builder_finish(builder, h, z, &j->encoder));
    mio_builder_release(builder);
}

static void choose_algorithm(job *j)
{
    bench_require(mio_encoder_set_text(j->encoder, "algorithm", bench_text(j->options, "algorithm", "fast")));
    bench_require(mio_encoder_set_text(j->encoder, "precision", bench_text(j->options, "precision", "fp32")));
}

/* compare_pytorch.py has the same: Nesterov, weight decay on everything. */
static void make_optimizer(job *j)
{
    bench_require(mio_optimizer_create(j->context, "sgd", &j->optimizer));
    bench_require(mio_optimizer_set(j->optimizer, "learning_rate", 0.01));
    bench_require(mio_optimizer_set(j->optimizer, "momentum", 0.9));
    bench_require(mio_optimizer_set(j->optimizer, "nesterov", 1));
    bench_require(mio_optimizer_set(j->optimizer, "weight_decay", 5e-4));
}

static void make_loader(job *j, size_t images, const char *preset, size_t views)
{
    const double mean[] = {0.491, 0.482, 0.447}, deviation[] = {0.247, 0.243, 0.262};
    mio_dataset *dataset = NULL;
    mio_augment *augment = NULL;
    j->pixels = bench_bytes(images * j->size * j->size * 3);
    bench_require(mio_dataset_from_memory(j->context, images, j->size, j->size, 3, 0, j->pixels, NULL, &dataset));
    bench_require(mio_augment_create(j->context, preset, j->size, j->size, 3, &augment));
    bench_require(mio_augment_set_normalization(augment, 3, mean, deviation));
    bench_require(mio_loader_create(dataset, augment, &j->loader));
    bench_require(mio_loader_set(j->loader, "views", (double)views));
    bench_require(mio_loader_set(j->loader, "batch_size", (double)j->batch));
    mio_augment_release(augment);
    mio_dataset_release(dataset);
}

/* ---- step ---- */

static void run_step(void *argument)
{
    job *j = argument;
    float *z2 = j->z + j->batch * j->out, *gradient2 = j->gradients + j->batch * j->out;
    double value;
    bench_require(mio_encoder_forward(j->encoder, 2, j->batch, j->images, NULL, j->z));
    bench_require(mio_loss_compute(j->loss, j->batch, j->out, j->z, z2, &value, j->gradients, gradient2));
    bench_require(mio_encoder_backward(j->encoder, j->gradients, NULL));
    bench_require(mio_optimizer_step(j->optimizer));
}

static void make_step(job *j)
{
    make_encoder(j, 1);
    choose_algorithm(j);
    make_optimizer(j);
    bench_require(mio_optimizer_add_encoder(j->optimizer, j->encoder));
    bench_require(mio_loss_create(j->context, "mio", &j->loss));
    j->images = bench_floats(2 * j->batch * j->size * j->size * 3);
    j->z = bench_allocate(2 * j->batch * j->out * sizeof *j->z);
    j->gradients = bench_allocate(2 * j->batch * j->out * sizeof *j->gradients);
}

/* ---- loss ---- */

static void run_loss(void *argument)
{
    job *j = argument;
    double value;
    const size_t view = j->pairs * j->dim;
    bench_require(
        mio_loss_compute(j->loss, j->pairs, j->dim, j->z, j->z + view, &value, j->gradients, j->gradients + view));
}

/* Losses that need neither take no notice. */
static void give_labels(job *j)
{
    int32_t *labels = bench_allocate(j->pairs * sizeof *labels);
    size_t *indices = bench_allocate(j->pairs * sizeof *indices);
    for (size_t b = 0; b < j->pairs; b++) {
        labels[b] = (int32_t)(b % 10);
        indices[b] = b;
    }
    bench_require(mio_loss_set_batch(j->loss, j->pairs, labels, indices));
    free(labels);
    free(indices);
}

static void make_loss(job *j)
{
    j->pairs = bench_size(j->options, "pairs", 1024);
    j->dim = bench_size(j->options, "dim", 128);
    bench_require(mio_loss_create(j->context, bench_text(j->options, "name", "mio"), &j->loss));
    give_labels(j);
    j->z = bench_floats(2 * j->pairs * j->dim);
    j->gradients = bench_allocate(2 * j->pairs * j->dim * sizeof *j->gradients);
}

/* ---- augment ---- */

static void run_augment(void *argument)
{
    job *j = argument;
    mio_batch batch = {.struct_size = sizeof batch};
    bench_require(mio_loader_next(j->loader, &batch));
}

static void make_augment(job *j)
{
    bench_require(mio_context_set(j->context, "threads", bench_number(j->options, "threads", 1)));
    make_loader(j, j->batch, bench_text(j->options, "preset", "mio-paper"), 1);
    bench_require(mio_loader_set(j->loader, "prefetch", 0));
}

/* ---- embed ---- */

static void run_embed(void *argument)
{
    job *j = argument;
    bench_require(mio_encoder_embed(j->encoder, j->batch, j->size, j->size, 3, 0, j->pixels, j->features));
}

static void make_embed(job *j)
{
    const char *file = bench_text(j->options, "file", NULL);
    if (file)
        bench_require(mio_encoder_load(j->context, file, &j->encoder));
    else
        make_encoder(j, 0);
    choose_algorithm(j);
    size_t dim;
    bench_require(mio_encoder_feature_dim(j->encoder, &dim));
    j->pixels = bench_bytes(j->batch * j->size * j->size * 3);
    j->features = bench_allocate(j->batch * dim * sizeof *j->features);
}

/* ---- knn ---- */

static void run_knn(void *argument)
{
    job *j = argument;
    bench_require(mio_knn_search(j->knn, j->queries, j->dim, j->features, j->neighbours, j->indices, j->similarities));
}

static void make_knn(job *j)
{
    const size_t bank = bench_size(j->options, "bank", 50000);
    j->queries = bench_size(j->options, "queries", 10000);
    j->dim = bench_size(j->options, "dim", 512);
    j->neighbours = bench_size(j->options, "k", 200);
    float *rows = bench_floats((bank + j->queries) * j->dim);
    j->features = rows + bank * j->dim;
    j->indices = bench_allocate(j->queries * j->neighbours * sizeof *j->indices);
    j->similarities = bench_allocate(j->queries * j->neighbours * sizeof *j->similarities);
    bench_require(mio_knn_create(j->context, &j->knn));
    bench_require(mio_knn_fit(j->knn, bank, j->dim, rows, NULL));
}

/* ---- epoch ---- */

static void run_epoch(void *argument)
{
    job *j = argument;
    for (size_t i = 0; i < j->steps; i++)
        bench_require(mio_trainer_step(j->trainer, NULL));
}

/* Between two epochs the loader has at most its two batches ahead, a hundredth of the work of an epoch. */
static void make_epoch(job *j)
{
    const size_t images = bench_size(j->options, "images", 2560);
    mio_schedule *schedule = NULL;
    uint64_t steps;
    make_encoder(j, 1);
    choose_algorithm(j);
    make_optimizer(j);
    make_loader(j, images, "mio-paper", 2);
    bench_require(mio_loader_steps_per_epoch(j->loader, &steps));
    j->steps = (size_t)steps;
    bench_require(mio_loss_create(j->context, "mio", &j->loss));
    bench_require(mio_schedule_create(j->context, "constant", &schedule));
    bench_require(mio_schedule_set(schedule, "learning_rate", 0.01));
    bench_require(mio_trainer_create(j->encoder, j->loss, j->optimizer, schedule, j->loader, &j->trainer));
    mio_schedule_release(schedule);
}

/* ---- names, save, start ---- */

static void names(job *j)
{
    (void)j;
    for (size_t i = 0; mio_loss_name_at(i); i++)
        puts(mio_loss_name_at(i));
}

static const char *needed_file(const job *j)
{
    const char *file = bench_text(j->options, "file", NULL);
    if (!file) {
        fprintf(stderr, "--file is needed\n");
        exit(EXIT_FAILURE);
    }
    return file;
}

static void save(job *j)
{
    make_encoder(j, 0);
    bench_require(mio_encoder_save(j->encoder, needed_file(j)));
}

static void start(job *j)
{
    needed_file(j);
    j->batch = 1;
    make_embed(j);
    run_embed(j);
    puts("embedded");
}

/* ---- all ---- */

/* A job without run is over when it has been made. */
typedef struct kind {
    const char *name;
    size_t batch;
    void (*make)(job *j);
    void (*run)(void *j);
} kind;

static const kind kinds[] = {
    {"step", 64, make_step, run_step},   {"loss", 0, make_loss, run_loss}, {"augment", 256, make_augment, run_augment},
    {"embed", 1, make_embed, run_embed}, {"knn", 0, make_knn, run_knn},    {"epoch", 128, make_epoch, run_epoch},
    {"names", 0, names, NULL},           {"save", 1, save, NULL},          {"start", 1, start, NULL},
};

static void release(job *j)
{
    mio_trainer_release(j->trainer);
    mio_loader_release(j->loader);
    mio_optimizer_release(j->optimizer);
    mio_loss_release(j->loss);
    mio_knn_release(j->knn);
    mio_encoder_release(j->encoder);
    mio_context_release(j->context);
}

int main(int count, char **arguments)
{
    const bench_options options = {count, arguments};
    for (size_t i = 0; count > 1 && i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, arguments[1]))
            continue;
        job j = {
            .options = &options, .size = bench_size(&options, "size", 32), .out = bench_size(&options, "out", 128)};
        j.batch = bench_size(&options, "batch", kinds[i].batch);
        bench_require(mio_context_create(&j.context));
        bench_require(mio_context_set(j.context, "threads", bench_number(&options, "threads", 2)));
        kinds[i].make(&j);
        if (kinds[i].run)
            bench_pace(&options, 1, &(bench_case){kinds[i].name, kinds[i].run, &j});
        release(&j);
        return EXIT_SUCCESS;
    }
    fprintf(stderr, "usage: %s step|loss|augment|embed|knn|epoch|names|save|start [--option value ...]\n",
            arguments[0]);
    return EXIT_FAILURE;
}
