#include "pretrain_options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: pretrain --dataset FORMAT PATH [SPLIT] --output DIR [options]\n"
    "  --recipe NAME             what to train and how (default mio-small)\n"
    "  --set NAME=VALUE          changes a parameter of the recipe; may be repeated\n"
    "  --loss NAME, --optimizer NAME, --schedule NAME    another kind of that part, with its defaults\n"
    "  --threads N, --seed N\n"
    "  --resume                  goes on from DIR/checkpoint.mio; give the same options as before: of --set, only\n"
    "                            trainer.epochs, trainer.steps, trainer.monitor_interval and loader.prefetch may be "
    "others\n"
    "  --tune SECONDS            first measures which convolution algorithms are fastest here; kept in DIR/tuning.txt\n"
    "  --tuning FILE             takes such a file of another run, for the same bits\n"
    "  --checkpoint-every N      steps between checkpoints (default: an epoch)\n"
    "  --list                    names of formats, recipes, losses, optimizers, schedules\n"
    "  --help                    this text and the recipe's parameters\n"
    "exit code: 0 trained to the end; 1 failed; 2 wrong arguments; 128 + signal stopped, checkpoint left\n";

static const char *const part_names[3] = {"loss", "optimizer", "schedule"};

static void list_names(void)
{
    print_names("formats", mio_dataset_format_at);
    print_names("losses", mio_loss_name_at);
    print_names("optimizers", mio_optimizer_name_at);
    print_names("schedules", mio_schedule_name_at);
    puts("recipes");
    for (size_t i = 0; mio_recipe_name_at(i); i++)
        printf("  %-12s %s\n", mio_recipe_name_at(i), mio_recipe_meaning_at(i));
    exit(0);
}

pretrain_options pretrain_options_read(arguments line)
{
    pretrain_options o = {.recipe = "mio-small",
                          .threads = NAN,
                          .seed = NAN,
                          .tune = NAN,
                          .sets = allocate((size_t)line.count, sizeof *o.sets)};
    while (line.next < line.count) {
        if (option(&line, "--dataset")) {
            o.format = value(&line, "--dataset"), o.path = value(&line, "--dataset");
            o.split = optional_value(&line);
        } else if (option(&line, "--recipe"))
            o.recipe = value(&line, "--recipe");
        else if (option(&line, "--output"))
            o.output = value(&line, "--output");
        else if (option(&line, "--loss"))
            o.parts[0] = value(&line, "--loss");
        else if (option(&line, "--optimizer"))
            o.parts[1] = value(&line, "--optimizer");
        else if (option(&line, "--schedule"))
            o.parts[2] = value(&line, "--schedule");
        else if (option(&line, "--set"))
            o.sets[o.set_count++] = value(&line, "--set");
        else if (option(&line, "--threads"))
            o.threads = number(&line, "--threads", 1, 1024);
        else if (option(&line, "--seed"))
            o.seed = number(&line, "--seed", 0, 9007199254740991.0);
        else if (option(&line, "--tune"))
            o.tune = number(&line, "--tune", 0, 1e6);
        else if (option(&line, "--tuning"))
            o.tuning = value(&line, "--tuning");
        else if (option(&line, "--checkpoint-every"))
            o.checkpoint_every = number(&line, "--checkpoint-every", 1, 1e15);
        else if (option(&line, "--resume"))
            o.resume = true;
        else if (option(&line, "--list"))
            list_names();
        else if (option(&line, "--help"))
            o.help = true;
        else
            unknown_argument(&line);
    }
    if (!o.help && (!o.path || !o.output))
        leave(EXIT_USAGE, "--dataset and --output are needed; see --help");
    if (o.tuning && !isnan(o.tune))
        leave(EXIT_USAGE, "--tune and --tuning exclude each other");
    return o;
}

mio_recipe *pretrain_recipe(mio_context *context, const pretrain_options *o)
{
    mio_recipe *recipe;
    check(mio_recipe_create(context, o->recipe, &recipe));
    for (int i = 0; i < 3; i++)
        if (o->parts[i])
            check(mio_recipe_choose(recipe, part_names[i], o->parts[i]));
    for (size_t i = 0; i < o->set_count; i++)
        recipe_set_pair(recipe, o->sets[i]);
    return recipe;
}

void pretrain_help(const pretrain_options *o, const mio_recipe *recipe)
{
    printf("%s\nparameters of recipe %s, with their present values:\n", usage, o->recipe);
    for (size_t i = 0; i < mio_recipe_parameter_count(recipe); i++) {
        mio_parameter_info info = {.struct_size = sizeof info};
        double present;
        check(mio_recipe_parameter(recipe, i, &info));
        check(mio_recipe_get(recipe, info.name, &present));
        print_parameter(&info, present);
    }
}
