/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libraries that are loaded when first needed. */
#include "util/module.h"
#include "util/err.h"
#include <dlfcn.h>
#include <pthread.h>
#include <sys/auxv.h>

#ifndef STATIC_MODULES
/*
 * The folder of this program. Never that of the moment, where anybody may have put libraries:
 * without /proc one that cannot be told is "/". Caller frees.
 */
static char *program_folder(void)
{
    g_autofree char *exe = g_file_read_link("/proc/self/exe", NULL);
    const char *started_as = (const char *)getauxval(AT_EXECFN);

    return g_path_get_dirname(exe ? exe : started_as && *started_as == '/' ? started_as : "/");
}

/* Opens @file from the build folder the program is in, or from where programs are installed. */
static void *module_open(const char *file, GError **err)
{
    g_autofree char *here = program_folder();
    g_autofree char *up = g_path_get_dirname(here), *top = g_path_get_dirname(up);
    const struct {
        const char *from, *to;
    } places[] = {
        { here, "modules" }, /* build/PROGRAM */
        { top, "modules" },  /* build/tests/KIND/TEST */
        { up, "modules" },   /* build/fuzz/NAME */
        { up, "lib/ferry" }, /* PREFIX/bin/PROGRAM, wherever PREFIX was moved */
    };
    void *lib;

    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autofree char *path = g_build_filename(places[i].from, places[i].to, file, NULL);

        if (g_file_test(path, G_FILE_TEST_EXISTS)) {
            lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
            if (!lib)
                err_set(err, ENOENT, "Cannot load module '%s': %s", path, dlerror());
            return lib;
        }
    }
    g_autofree char *path = g_build_filename(FERRY_MODULE_DIR, file, NULL);
    lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        err_set(err, ENOENT, "Cannot load module '%s': %s", path, dlerror());
    return lib;
}
#endif

/* One thread at a time. */
static const void *module_find(const char *name, GError **err)
{
    static GHashTable *loaded;
    g_autofree char *symbol = g_strconcat("ferry_module_", name, NULL);
    const void *table;
    void *lib;

    if (!loaded)
        loaded = g_hash_table_new(g_str_hash, g_str_equal);
    table = g_hash_table_lookup(loaded, name);
    if (table)
        return table;
#ifdef STATIC_MODULES
    lib = RTLD_DEFAULT;
#else
    g_autofree char *file = g_strconcat(name, ".so", NULL);
    lib = module_open(file, err);
    if (!lib)
        return NULL;
#endif
    table = dlsym(lib, symbol);
    if (!table) {
        err_set(err, ENOENT, "Module '%s' is not part of this build", name);
        return NULL;
    }
    g_hash_table_insert(loaded, g_strdup(name), (void *)table);
    return table;
}

const void *module_load(const char *name, GError **err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    const void *table;

    pthread_mutex_lock(&lock);
    table = module_find(name, err);
    pthread_mutex_unlock(&lock);
    return table;
}
