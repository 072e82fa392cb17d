#define _DEFAULT_SOURCE
#include "names.h"
#include "common.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

typedef struct list {
    char **names;
    size_t count, found;
} list;

/* A folder that the walk is inside of. */
typedef struct way {
    const struct way *outer;
    dev_t device;
    ino_t number;
} way;

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool is_image(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg") || !strcasecmp(dot, ".png"));
}

/* Whether a link leads back to a folder that the walk is inside of. */
static bool is_inside(const way *here, const struct stat *facts)
{
    for (; here; here = here->outer)
        if (here->device == facts->st_dev && here->number == facts->st_ino)
            return true;
    return false;
}

/* below: what precedes the names in this folder, with its slash, or "". */
static void collect(list *all, const char *folder, const char *below, const way *outer)
{
    struct dirent **entries;
    struct stat facts;
    if (stat(folder, &facts) || is_inside(outer, &facts))
        return;
    const way here = {outer, facts.st_dev, facts.st_ino};
    const int count = scandir(folder, &entries, is_visible, by_bytes);
    for (int i = 0; i < count; i++) {
        char path[4096], name[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        snprintf(name, sizeof name, "%s%s", below, entries[i]->d_name);
        free(entries[i]);
        if (stat(path, &facts))
            continue;
        if (S_ISDIR(facts.st_mode)) {
            strncat(name, "/", sizeof name - strlen(name) - 1);
            collect(all, path, name, &here);
        } else if (is_image(name) && all->found++ < all->count) {
            char *copy = allocate(strlen(name) + 1, 1);
            all->names[all->found - 1] = strcpy(copy, name);
        }
    }
    if (count >= 0)
        free(entries);
}

char **image_names(const char *folder, size_t count)
{
    list all = {.names = allocate(count, sizeof *all.names), .count = count};
    collect(&all, folder, "", NULL);
    if (all.found != count)
        leave(EXIT_FAILED, "'%s' changed while it was read: %zu images, now %zu", folder, count, all.found);
    return all.names;
}

void image_names_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}
