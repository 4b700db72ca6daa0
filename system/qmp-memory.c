/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that look at the guest's memory. */
#include "gen/qmp.h"
#include "system/debug.h"
#include "system/run-state.h"
#include "util/err.h"
#include "util/fd.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

enum { PIECE = 4096 };

/* Bytes at @at, physical or of a processor (@v), as the guest has them. False: nothing is there. */
static bool load(Machine *m, Vcpu *v, uint64_t at, uint8_t *buf, size_t len)
{
    if (v)
        return debug_read(v, at, buf, len);
    debug_read_physical(m, at, buf, len);
    return true;
}

static bool store(Vcpu *v, uint64_t at, int64_t size, const char *name, GError **err)
{
    autofd int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    uint8_t buf[PIECE];

    if (fd < 0)
        return err_set_errno(err, errno, "Could not open '%s'", name);
    for (int64_t done = 0; done < size;) {
        size_t len = MIN(size - done, PIECE);

        if (!load(run_state_machine(), v, at + done, buf, len))
            return err_set(err, EFAULT, "Invalid addr 0x%016" PRIx64 "/size %" PRId64 " specified",
                           at, size);
        if (write(fd, buf, len) != (ssize_t)len)
            return err_set_errno(err, errno ? errno : EIO, "writing memory to '%s' failed", name);
        done += len;
    }
    return true;
}

static CO bool save(Vcpu *v, uint64_t at, int64_t size, const char *name, GError **err)
{
    bool ok;

    if (!debug_begin(err))
        return false;
    ok = store(v, at, size, name, err);
    debug_end();
    return ok;
}

CO bool qmp_memsave(const QmpMemsaveArgs *args, GError **err)
{
    GPtrArray *vcpus = run_state_machine()->vcpus;
    int64_t index = args->has_cpu_index ? args->cpu_index : 0;

    if (index < 0 || index >= vcpus->len)
        return err_set(err, EINVAL, "Parameter 'cpu-index' expects a CPU number");
    return save(vcpus->pdata[index], args->val, args->size, args->filename, err);
}

CO bool qmp_pmemsave(const QmpPmemsaveArgs *args, GError **err)
{
    return save(NULL, args->val, args->size, args->filename, err);
}

static void show_memdev(const MemoryBackend *b, void *list)
{
    Memdev *d = g_new0(Memdev, 1);

    d->id = g_strdup(b->id);
    d->size = b->size;
    d->merge = b->is_merged;
    d->dump = b->is_dumped;
    d->prealloc = b->is_preallocated;
    d->share = b->is_shared;
    d->has_reserve = true;
    d->reserve = b->is_reserved;
    d->policy = HOST_MEM_POLICY_DEFAULT;
    d->host_nodes = json_array();
    g_ptr_array_add(list, d);
}

CO bool qmp_query_memdev(GPtrArray **ret, GError **err)
{
    const MemoryBackend *own = run_state_machine()->own_memory;

    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)memdev_free);
    if (own)
        show_memdev(own, *ret);
    memory_backend_foreach(show_memdev, *ret);
    return true;
}
