/* Draws what a pretraining run did and learned as one HTML page: accuracies, loss, monitors, the embeddings in a plane,
   and images beside those that the encoder takes for most alike, before and after training. */
#include "common.h"
#include "curves.h"
#include "gallery.h"
#include "page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: report --run DIR --dataset FORMAT PATH [SPLIT] --html FILE [options]\n"
                            "  --evaluation FILE     accuracies, as evaluate --json wrote them\n"
                            "  --classes A,B,...     names of the classes, where the dataset has none\n"
                            "  --title TEXT\n"
                            "exit code: 0 done; 1 failed; 2 wrong arguments\n";

typedef struct options {
    const char *run, *format, *path, *split, *html, *evaluation, *title;
    char *classes;
} options;

static options read_options(arguments line)
{
    options o = {.title = "Pretraining report"};
    while (line.next < line.count) {
        if (option(&line, "--run"))
            o.run = value(&line, "--run");
        else if (option(&line, "--dataset")) {
            o.format = value(&line, "--dataset"), o.path = value(&line, "--dataset");
            o.split = optional_value(&line);
        } else if (option(&line, "--html"))
            o.html = value(&line, "--html");
        else if (option(&line, "--evaluation"))
            o.evaluation = value(&line, "--evaluation");
        else if (option(&line, "--classes")) {
            const char *list = value(&line, "--classes");
            o.classes = strcpy(allocate(strlen(list) + 1, 1), list);
        } else if (option(&line, "--title"))
            o.title = value(&line, "--title");
        else if (option(&line, "--help"))
            exit(fputs(usage, stdout) < 0);
        else
            unknown_argument(&line);
    }
    if (!o.run || !o.path || !o.html)
        leave(EXIT_USAGE, "--run, --dataset and --html are needed; see --help");
    return o;
}

/* evaluate's JSON holds one result a line. */
static void write_accuracies(FILE *page, const char *path)
{
    char line[512], encoder[64], method[64];
    FILE *file = fopen(path, "r");
    if (!file)
        leave(EXIT_FAILED, "cannot read '%s': %s", path, strerror(errno));
    fputs("<h2>Accuracy on the test images</h2>\n<table><tr><th>features</th><th>classifier</th>"
          "<th class=\"number\">accuracy</th></tr>\n",
          page);
    while (fgets(line, sizeof line, file)) {
        if (!json_text_in(line, "encoder", encoder, sizeof encoder) ||
            !json_text_in(line, "method", method, sizeof method))
            continue;
        fputs(strcmp(encoder, "trained") ? "<tr><td>" : "<tr class=\"trained\"><td>", page);
        page_text(page, encoder);
        fputs("</td><td>", page);
        page_text(page, method);
        fprintf(page, "</td><td class=\"number\">%.2f %%</td></tr>\n", 100 * json_number_in(line, "accuracy"));
    }
    fputs("</table>\n", page);
    fclose(file);
}

int main(int argc, char **argv)
{
    const options o = read_options(arguments_of(argc, argv));
    char encoder_path[4096], metrics_path[4096];
    snprintf(encoder_path, sizeof encoder_path, "%s/encoder.mio", o.run);
    snprintf(metrics_path, sizeof metrics_path, "%s/metrics.jsonl", o.run);

    mio_context *context;
    mio_encoder *trained;
    check(mio_context_create(&context));
    check(mio_encoder_load(context, encoder_path, &trained));
    mio_dataset *dataset = dataset_for(context, trained, o.format, o.path, o.split);
    mio_encoder *untrained = untrained_copy(context, encoder_path, 0);
    const gallery images = gallery_of(context, dataset, o.classes);
    const gallery_view views[2] = {gallery_look(&images, untrained, "Before training"),
                                   gallery_look(&images, trained, "After training")};

    FILE *page = page_begin(o.html, o.title);
    if (o.evaluation)
        write_accuracies(page, o.evaluation);
    gallery_write_planes(page, &images, views);
    gallery_write_neighbours(page, &images, views);
    curves_write(page, metrics_path);
    page_end(page, o.html);

    gallery_view_free(&views[0]);
    gallery_view_free(&views[1]);
    gallery_free(&images);
    free(o.classes);
    mio_encoder_release(untrained);
    mio_encoder_release(trained);
    mio_dataset_release(dataset);
    mio_context_release(context);
    return 0;
}
