/* Trains the same encoder from the same start with several losses, and shows what becomes of it with each: accuracies,
   both halves of the mutual information, alignment and uniformity along training, and the Hessian's spectrum before and
   after. */
#include "comparison.h"
#include "evaluation.h"
#include "progress.h"

#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: compare_losses --dataset FORMAT PATH --output FILE.html [options]\n"
    "  --losses A,B,...       default mio,nt_xent\n"
    "  --recipe NAME          encoder, augmentation, optimizer (default mio-tiny)\n"
    "  --set NAME=VALUE       changes a parameter of the recipe, for every loss; may be repeated\n"
    "  --epochs N, --steps N  length of each run (default: the recipe's)\n"
    "  --train SPLIT, --test SPLIT    default train and test\n"
    "  --pairs N              test images in the batch that is measured on (default 256)\n"
    "  --points N             moments of training that are measured (default 40)\n"
    "  --spectrum N           Lanczos steps for the spectrum by the weights, 8 bytes a weight each (default 12; 0: "
    "none)\n"
    "  --json FILE            all numbers as JSON lines\n"
    "  --title TEXT, --threads N, --seed N\n"
    "exit code: 0 done; 1 failed; 2 wrong arguments\n";

enum { MOST_LOSSES = 16 };

typedef struct options {
    const char *format, *path, *recipe, *train, *test, *output, *json, *title;
    char *losses;
    const char **sets;
    size_t set_count;
    double epochs, steps, pairs, points, spectrum, threads, seed;
} options;

static options read_options(arguments line)
{
    options o = {.recipe = "mio-tiny", .train = "train", .test = "test", .title = "Losses compared"};
    const char *losses = "mio,nt_xent";
    o.pairs = 256, o.points = 40, o.spectrum = 12;
    o.sets = allocate((size_t)line.count, sizeof *o.sets);
    while (line.next < line.count) {
        if (option(&line, "--dataset"))
            o.format = value(&line, "--dataset"), o.path = value(&line, "--dataset");
        else if (option(&line, "--losses"))
            losses = value(&line, "--losses");
        else if (option(&line, "--recipe"))
            o.recipe = value(&line, "--recipe");
        else if (option(&line, "--set"))
            o.sets[o.set_count++] = value(&line, "--set");
        else if (option(&line, "--epochs"))
            o.epochs = number(&line, "--epochs", 1, 1e6);
        else if (option(&line, "--steps"))
            o.steps = number(&line, "--steps", 1, 1e9);
        else if (option(&line, "--train"))
            o.train = value(&line, "--train");
        else if (option(&line, "--test"))
            o.test = value(&line, "--test");
        else if (option(&line, "--pairs"))
            o.pairs = number(&line, "--pairs", 2, 65536);
        else if (option(&line, "--points"))
            o.points = number(&line, "--points", 1, COMPARISON_POINTS - 1);
        else if (option(&line, "--spectrum"))
            o.spectrum = number(&line, "--spectrum", 0, COMPARISON_ATOMS);
        else if (option(&line, "--output"))
            o.output = value(&line, "--output");
        else if (option(&line, "--json"))
            o.json = value(&line, "--json");
        else if (option(&line, "--title"))
            o.title = value(&line, "--title");
        else if (option(&line, "--threads"))
            o.threads = number(&line, "--threads", 1, 1024);
        else if (option(&line, "--seed"))
            o.seed = number(&line, "--seed", 0, 9007199254740991.0);
        else if (option(&line, "--help"))
            exit(fputs(usage, stdout) < 0);
        else
            unknown_argument(&line);
    }
    if (!o.path || !o.output)
        leave(EXIT_USAGE, "--dataset and --output are needed; see --help");
    o.losses = strcpy(allocate(strlen(losses) + 1, 1), losses);
    return o;
}

static mio_recipe *recipe_for(mio_context *context, const options *o, const char *loss)
{
    mio_recipe *recipe;
    check(mio_recipe_create(context, o->recipe, &recipe));
    check(mio_recipe_choose(recipe, "loss", loss));
    if (o->epochs > 0)
        check(mio_recipe_set(recipe, "trainer.epochs", o->epochs));
    if (o->steps > 0)
        check(mio_recipe_set(recipe, "trainer.steps", o->steps));
    for (size_t i = 0; i < o->set_count; i++)
        recipe_set_pair(recipe, o->sets[i]);
    return recipe;
}

/* Mistakes are found before anything is trained: one step with each loss. */
static void try_step(const evaluation *e, const options *o, const char *loss)
{
    mio_recipe *recipe = recipe_for(e->context, o, loss);
    mio_trainer *trainer;
    mio_step_report report = {.struct_size = sizeof report};
    check(mio_recipe_build(recipe, e->train, &trainer));
    if (mio_trainer_step(trainer, &report))
        leave(EXIT_FAILED, "the loss '%s': %s", loss, mio_last_error());
    mio_trainer_release(trainer);
    mio_recipe_release(recipe);
}

/* Steps the trainer to its end and looks at the encoder at even distances. */
static void train(mio_trainer *trainer, const options *o, comparison_batch *batch, comparison *c)
{
    mio_encoder *encoder = mio_trainer_encoder(trainer);
    mio_step_report report = {.struct_size = sizeof report};
    progress bar = progress_begin(0);
    do {
        check(mio_trainer_step(trainer, &report));
        progress_show(&bar, &report);
        const double due = (double)c->point_count * (double)report.total_steps / o->points;
        if ((double)report.step >= due)
            c->points[c->point_count++] = comparison_look(batch, encoder, (double)report.step);
    } while (report.step < report.total_steps);
    progress_end(&bar);
}

/* Accuracies of the encoder's features on the test images. */
static void classify(evaluation *e, const char *name, mio_encoder *encoder, double *knn, double *linear)
{
    size_t dim;
    float *train = features_of(encoder, e->train, &dim), *test = features_of(encoder, e->test, &dim);
    const features f = {dim, train, test};
    *knn = evaluate_knn(e, name, &f, 200, 0.1);
    *linear = evaluate_linear(e, name, &f, "exact");
    free(train);
    free(test);
}

/* One loss from the start to the end. untrained: accuracies of the encoder before training, found with the first loss.
 */
static void compare(evaluation *e, const options *o, comparison *c, double untrained[2])
{
    mio_trainer *trainer;
    mio_recipe *recipe = recipe_for(e->context, o, c->loss);
    check(mio_recipe_build(recipe, e->train, &trainer));
    mio_encoder *encoder = mio_trainer_encoder(trainer);
    comparison_batch batch = comparison_batch_of(e->context, recipe, e->test, (size_t)o->pairs, encoder);
    mio_loss *loss = comparison_loss(&batch, recipe, c->loss);
    if (untrained[0] < 0)
        classify(e, "untrained", encoder, &untrained[0], &untrained[1]);
    c->points[c->point_count++] = comparison_look(&batch, encoder, 0);
    comparison_spectra(&batch, encoder, loss, (size_t)o->spectrum, &c->by_rows[0], &c->by_weights[0]);
    train(trainer, o, &batch, c);
    comparison_spectra(&batch, encoder, loss, (size_t)o->spectrum, &c->by_rows[1], &c->by_weights[1]);
    classify(e, c->loss, encoder, &c->knn, &c->linear);
    mio_loss_release(loss);
    comparison_batch_free(&batch);
    mio_trainer_release(trainer);
    mio_recipe_release(recipe);
}

int main(int argc, char **argv)
{
    const options o = read_options(arguments_of(argc, argv));
    evaluation e = {.json = NULL};
    comparison *losses = allocate(MOST_LOSSES, sizeof *losses);
    double untrained[2] = {-1, -1};
    size_t count = 0;
    check(mio_context_create(&e.context));
    check(mio_context_set(e.context, "seed", o.seed));
    if (o.threads > 0)
        check(mio_context_set(e.context, "threads", o.threads));
    for (char *name = strtok(o.losses, ","); name; name = strtok(NULL, ",")) {
        if (count == MOST_LOSSES)
            leave(EXIT_USAGE, "--losses takes at most %d names", MOST_LOSSES);
        losses[count++].loss = name;
    }
    check(mio_dataset_open(e.context, o.format, o.path, o.train, &e.train));
    check(mio_dataset_open(e.context, o.format, o.path, o.test, &e.test));
    for (size_t i = 0; i < count; i++)
        try_step(&e, &o, losses[i].loss);
    evaluation_begin(&e, NULL);
    for (size_t i = 0; i < count; i++) { /* what is done is written at once */
        compare(&e, &o, &losses[i], untrained);
        comparison_write_page(o.output, o.title, i + 1, losses, untrained[0], untrained[1]);
        if (o.json)
            comparison_write_json(o.json, i + 1, losses);
    }
    evaluation_end(&e);
    free(losses);
    free(o.losses);
    free(o.sets);
    return 0;
}
