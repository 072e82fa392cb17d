/* Pretrains an encoder on unlabelled images by a recipe. DIR then holds encoder.mio (the result), checkpoint.mio (to go
   on from) and metrics.jsonl (one line a step). Ctrl-C ends the run after the present step and leaves a checkpoint. */
#define _POSIX_C_SOURCE 200809L
#include "common.h"
#include "pretrain_options.h"
#include "progress.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct run {
    mio_trainer *trainer;
    FILE *metrics;
    char checkpoint[4096];
    uint64_t checkpoint_every;
    mio_status saved; /* of the last checkpoint */
    char reason[512]; /* why it was not */
    progress bar;
} run;

/* Signal handlers have no argument: these two are how Ctrl-C finds the run. */
static volatile sig_atomic_t stop_signal;
static mio_trainer *running;

static void on_signal(int number)
{
    stop_signal = number;
    mio_trainer_cancel(running);
}

static void catch_signals(mio_trainer *trainer)
{
    /* Reset: a second Ctrl-C ends the program at once. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND | SA_RESTART};
    running = trainer;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static void save(run *r)
{
    r->saved = mio_trainer_save(r->trainer, r->checkpoint);
    snprintf(r->reason, sizeof r->reason, "%s", mio_last_error()); /* the run that it ends says that it was ended */
}

static int32_t after_step(void *user, const mio_step_report *report)
{
    run *r = user;
    metrics_write(r->metrics, report);
    progress_show(&r->bar, report);
    if (report->step % (r->checkpoint_every ? r->checkpoint_every : report->steps_per_epoch) == 0)
        save(r);
    return r->saved || stop_signal;
}

/* Trains to the end, a signal or a failure; returns the exit code. */
static int train(run *r, const char *output)
{
    char path[4096];
    const mio_status status = stop_signal ? MIO_ERROR_CANCELLED : mio_trainer_run(r->trainer, after_step, r);
    progress_end(&r->bar);
    if (!r->saved && (!status || stop_signal))
        save(r);
    char metrics[4096];
    snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", output);
    close_written(r->metrics, metrics);
    if (r->saved)
        leave(EXIT_FAILED, "%s", r->reason);
    if (stop_signal) {
        fprintf(stderr, "stopped after step %llu; --resume goes on from '%s'\n",
                (unsigned long long)mio_trainer_steps_done(r->trainer), r->checkpoint);
        return 128 + stop_signal;
    }
    check(status);
    snprintf(path, sizeof path, "%s/encoder.mio", output);
    check(mio_encoder_save(mio_trainer_encoder(r->trainer), path));
    fprintf(stderr, "trained %llu steps in %.1f s: '%s'\n",
            (unsigned long long)(mio_trainer_steps_done(r->trainer) - r->bar.first_step), seconds_now() - r->bar.began,
            path);
    return 0;
}

/* How convolutions are computed, where the command line has a say; a run taken up again has it in its checkpoint. */
static void tune(mio_trainer *trainer, const pretrain_options *o)
{
    char path[4096];
    if (o->tuning)
        check(mio_encoder_load_tuning(mio_trainer_encoder(trainer), o->tuning));
    if (isnan(o->tune))
        return;
    check(mio_trainer_tune(trainer, o->tune));
    snprintf(path, sizeof path, "%s/tuning.txt", o->output);
    check(mio_encoder_save_tuning(mio_trainer_encoder(trainer), path));
}

/* Builds the run that the options describe, or takes it up again, and trains; returns the exit code. */
static int pretrain(mio_context *context, mio_recipe *recipe, const pretrain_options *o)
{
    char path[4096];
    mio_dataset *dataset;
    run r = {.checkpoint_every = (uint64_t)o->checkpoint_every};
    if (mkdir(o->output, 0777) && errno != EEXIST)
        leave(EXIT_FAILED, "cannot make the folder '%s': %s", o->output, strerror(errno));
    snprintf(r.checkpoint, sizeof r.checkpoint, "%s/checkpoint.mio", o->output);
    if (!o->resume && !access(r.checkpoint, F_OK))
        leave(EXIT_USAGE, "'%s' holds a run already: go on with --resume, or choose another --output", o->output);
    check(mio_dataset_open(context, o->format, o->path, o->split, &dataset));
    check(mio_recipe_build(recipe, dataset, &r.trainer));
    if (o->resume)
        check(mio_trainer_restore(r.trainer, r.checkpoint));
    else
        tune(r.trainer, o);
    catch_signals(r.trainer);

    snprintf(path, sizeof path, "%s/metrics.jsonl", o->output);
    r.metrics = metrics_open(path, mio_trainer_steps_done(r.trainer));
    r.bar = progress_begin(mio_trainer_steps_done(r.trainer));
    const int code = train(&r, o->output);

    signal(SIGINT, SIG_DFL); /* nothing is left to stop gently */
    signal(SIGTERM, SIG_DFL);
    mio_trainer_release(r.trainer);
    mio_dataset_release(dataset);
    return code;
}

int main(int argc, char **argv)
{
    const pretrain_options o = pretrain_options_read(arguments_of(argc, argv));
    mio_context *context;
    int code = 0;
    check(mio_context_create(&context));
    if (!isnan(o.threads))
        check(mio_context_set(context, "threads", o.threads));
    if (!isnan(o.seed))
        check(mio_context_set(context, "seed", o.seed));
    mio_recipe *recipe = pretrain_recipe(context, &o);
    if (o.help)
        pretrain_help(&o, recipe);
    else
        code = pretrain(context, recipe, &o);
    mio_recipe_release(recipe);
    mio_context_release(context);
    free(o.sets);
    return code;
}
