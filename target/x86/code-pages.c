/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/x86/code-pages.h"
#include "target/x86/cpu.h"
#include <sys/mman.h>

/* Code above 256 GiB of physical addresses is interpreted. */
enum { PAGES = 1 << 26 };

typedef struct {
    X86Cpu *cpu;
    X86Mail *mail;
} Member;

struct X86CodePages {
    unsigned processors;
    GMutex lock;
    GArray *members;   /* of Member */
    uint8_t *watchers; /* of each page; atomic */
};

X86CodePages *x86_code_pages_new(unsigned processors)
{
    X86CodePages *p;
    void *watchers = mmap(NULL, PAGES, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (watchers == MAP_FAILED)
        return NULL;
    p = g_new0(X86CodePages, 1);
    g_mutex_init(&p->lock);
    p->members = g_array_new(FALSE, FALSE, sizeof(Member));
    p->watchers = watchers;
    p->processors = processors;
    return p;
}

void x86_code_pages_free(X86CodePages *p)
{
    if (!p)
        return;
    munmap(p->watchers, PAGES);
    g_array_unref(p->members);
    g_mutex_clear(&p->lock);
    g_free(p);
}

bool x86_code_pages_are_shared(const X86CodePages *p)
{
    return p->processors > 1;
}

bool x86_code_pages_covers(uint64_t physical)
{
    return physical >> 12 < PAGES;
}

bool x86_code_pages_has(const X86CodePages *p, uint64_t physical)
{
    return x86_code_pages_covers(physical) &&
           __atomic_load_n(&p->watchers[physical >> 12], __ATOMIC_ACQUIRE);
}

void x86_code_pages_join(X86CodePages *p, X86Cpu *cpu, X86Mail *mail)
{
    Member m = { cpu, mail };

    g_mutex_lock(&p->lock);
    g_array_append_val(p->members, m);
    g_mutex_unlock(&p->lock);
}

void x86_code_pages_leave(X86CodePages *p, X86Cpu *cpu)
{
    g_mutex_lock(&p->lock);
    for (guint i = 0; i < p->members->len; i++) {
        if (g_array_index(p->members, Member, i).cpu == cpu) {
            g_array_remove_index_fast(p->members, i);
            break;
        }
    }
    g_mutex_unlock(&p->lock);
}

static void deliver(X86Mail *mail, const X86Letter *letter)
{
    if (!letter)
        mail->all_written = true;
    else if (mail->count < X86_LETTERS)
        mail->letter[mail->count++] = *letter;
    else if (letter->was_written)
        mail->all_written = true;
    else
        mail->all_watched = true;
}

/* @letter NULL: any page may have been written. */
static void tell(X86CodePages *p, const X86Cpu *but, const X86Letter *letter)
{
    g_mutex_lock(&p->lock);
    for (guint i = 0; i < p->members->len; i++) {
        Member *m = &g_array_index(p->members, Member, i);

        if (m->cpu == but)
            continue;
        deliver(m->mail, letter);
        __atomic_or_fetch(&m->cpu->events, X86_EVENT_CODE, __ATOMIC_SEQ_CST);
    }
    g_mutex_unlock(&p->lock);
}

void x86_code_pages_tell(X86CodePages *p, X86Cpu *but, X86Letter letter)
{
    tell(p, but, &letter);
}

void x86_code_pages_tell_all(X86CodePages *p, X86Cpu *but)
{
    tell(p, but, NULL);
}

X86Mail x86_code_pages_collect(X86CodePages *p, X86Mail *box)
{
    X86Mail mail;

    g_mutex_lock(&p->lock);
    mail = *box;
    box->count = 0;
    box->all_written = box->all_watched = false;
    g_mutex_unlock(&p->lock);
    return mail;
}

void x86_code_pages_watch(X86CodePages *p, X86Cpu *cpu, uint64_t physical)
{
    uint64_t page = physical & ~UINT64_C(4095);

    if (__atomic_fetch_add(&p->watchers[page >> 12], 1, __ATOMIC_SEQ_CST) == 0)
        x86_code_pages_tell(p, cpu, (X86Letter){ .page = page });
}

void x86_code_pages_unwatch(X86CodePages *p, uint64_t physical)
{
    __atomic_fetch_sub(&p->watchers[physical >> 12], 1, __ATOMIC_SEQ_CST);
}

void x86_code_written(X86CodePages *p, uint64_t physical, uint64_t len)
{
    uint64_t last = physical + len - 1;

    for (uint64_t page = physical & ~UINT64_C(4095); len && page <= last; page += 4096)
        if (x86_code_pages_has(p, page))
            x86_code_pages_tell(p, NULL, (X86Letter){ .page = page, .was_written = true });
}
