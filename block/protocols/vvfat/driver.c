/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A folder of this machine as a FAT disk that can be read: fat:[floppy:][12:|16:|32:]FOLDER.
 *
 * What the folders hold and where files are is settled when the disk is opened. What the files hold
 * is read from them when it is asked for: no more than the size that they had then, and zeroes for
 * what they have lost since. See docs/spec/vvfat.md.
 */
#include "block/driver.h"
#include "block/protocols/vvfat/tree.h"
#include "gen/schema.h"
#include "io/pool.h"
#include "util/fd.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { IOV_AT_ONCE = 64, PARTS_MAX = 6 };

typedef struct Vvfat Vvfat;

/* A part of the disk that is not all zeroes. Bytes. */
typedef struct {
    uint64_t off, len;
    /* Reads bytes from @off of the part. Any thread. 0 or a negative errno. */
    int (*read)(const Vvfat *s, uint64_t off, Span buf);
    bool waits;          /* for files of the host, or computes for long: in a thread */
} Part;

struct Vvfat {
    FatTree *tree;
    Part parts[PARTS_MAX];   /* in order; what is between them is zero */
    unsigned part_count;
};

/* ---- the parts of the disk ------------------------------------------------------------------- */

static int partition_read(const Vvfat *s, uint64_t off, Span buf)
{
    uint8_t sector[FAT_SECTOR];

    fat_partition_table(&s->tree->layout, sector);
    span_write(buf, sector + off);
    return 0;
}

static int reserved_read(const Vvfat *s, uint64_t off, Span buf)
{
    while (buf.len) {
        uint8_t sector[FAT_SECTOR];
        unsigned within = off % FAT_SECTOR;
        size_t len = MIN(buf.len, FAT_SECTOR - within);

        fat_reserved_sector(&s->tree->layout, off / FAT_SECTOR, s->tree->used, sector);
        span_write(span_slice(buf, 0, len), sector + within);
        buf = span_slice(buf, len, buf.len - len);
        off += len;
    }
    return 0;
}

/*
 * What the table says of @cluster: the next one of the file, its end, or 0 for a free one. *@run:
 * what the last call has found, NULL at first, as the next cluster is mostly of the same file.
 */
static uint32_t table_entry(const FatTree *t, uint32_t cluster, const FatNode **run)
{
    uint32_t end = t->layout.bits == 32 ? 0x0fffffff : (1u << t->layout.bits) - 1;
    const FatNode *n = *run;

    if (cluster == 0)            /* holds the kind of medium */
        return (end & ~0xffu) | (t->layout.floppy ? 0xf0 : 0xf8);
    if (cluster == 1)
        return end;
    if (!n || cluster < n->first || cluster - n->first >= n->clusters)
        n = *run = fat_tree_find(t, cluster);
    if (!n)
        return 0;
    return cluster - n->first + 1 < n->clusters ? cluster + 1 : end;
}

static uint8_t table_byte(const FatTree *t, uint64_t off, const FatNode **run)
{
    unsigned bits = t->layout.bits;
    uint64_t bit = off * 8;
    uint32_t cluster = bit / bits;
    unsigned shift = bit % bits;
    uint64_t entries = table_entry(t, cluster, run);

    if (bits == 12)              /* a byte may be of two entries */
        entries |= (uint64_t)table_entry(t, cluster + 1, run) << bits;
    return entries >> shift;
}

static int table_read(const Vvfat *s, uint64_t off, Span buf)
{
    const FatNode *run = NULL;

    while (buf.len) {
        uint8_t bytes[FAT_SECTOR];
        size_t len = MIN(buf.len, FAT_SECTOR);

        for (size_t i = 0; i < len; i++)
            bytes[i] = table_byte(s->tree, off + i, &run);
        span_write(span_slice(buf, 0, len), bytes);
        buf = span_slice(buf, len, buf.len - len);
        off += len;
    }
    return 0;
}

/* Reads of @from, which is followed by zeroes. */
static int entries_read(const GByteArray *from, uint64_t off, Span buf)
{
    size_t len = off < from->len ? MIN(buf.len, from->len - off) : 0;

    if (len)
        span_write(span_slice(buf, 0, len), from->data + off);
    span_zero(span_slice(buf, len, buf.len - len));
    return 0;
}

static int root_read(const Vvfat *s, uint64_t off, Span buf)
{
    return entries_read(fat_tree_root(s->tree)->entries, off, buf);
}

/*
 * Opens the file @n. One that has become a FIFO or a device since is looked at, but not opened:
 * that may wait, and others notice it. O_NONBLOCK is no help, as it fails on files with a lease.
 */
static int file_open_again(const FatTree *t, const FatNode *n)
{
    g_autofree char *path = fat_tree_path(t, n), *found = NULL;
    autofd int place = openat(t->fd, path, O_PATH | O_CLOEXEC);
    struct stat st;
    int fd;

    if (place < 0 || fstat(place, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EIO;
    found = g_strdup_printf("/proc/self/fd/%d", place);
    fd = open(found, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Fills @buf from @off of the file @fd; zeroes after its end. */
static int file_fill(int fd, uint64_t off, Span buf)
{
    while (buf.len) {
        struct iovec iov[IOV_AT_ONCE];
        int niov = span_to_iov(buf, iov, IOV_AT_ONCE, NULL);
        ssize_t got = preadv(fd, iov, niov, (off_t)off);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        buf = span_slice(buf, got, buf.len - got);
        off += got;
    }
    span_zero(buf);
    return 0;
}

static int file_read(const FatTree *t, const FatNode *n, uint64_t off, Span buf)
{
    size_t len = off < n->size ? MIN(buf.len, n->size - off) : 0;
    autofd int fd = len ? file_open_again(t, n) : -1;

    if (len && fd < 0)
        return fd;
    span_zero(span_slice(buf, len, buf.len - len));
    return len ? file_fill(fd, off, span_slice(buf, 0, len)) : 0;
}

static int clusters_read(const Vvfat *s, uint64_t off, Span buf)
{
    const FatTree *t = s->tree;
    uint64_t cluster = fat_cluster_len(&t->layout);
    int r = 0;

    while (buf.len && r == 0) {
        const FatNode *n = fat_tree_find(t, off / cluster + FAT_FIRST_CLUSTER);
        uint64_t start = (n->first - FAT_FIRST_CLUSTER) * cluster;
        size_t len = MIN(buf.len, start + n->clusters * cluster - off);
        Span part = span_slice(buf, 0, len);

        r = n->entries ? entries_read(n->entries, off - start, part)
                       : file_read(t, n, off - start, part);
        buf = span_slice(buf, len, buf.len - len);
        off += len;
    }
    return r;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void part_add(Vvfat *s, uint32_t sector, uint64_t len,
                     int (*read)(const Vvfat *s, uint64_t off, Span buf))
{
    if (len)
        s->parts[s->part_count++] = (Part){
            .off = (uint64_t)sector * FAT_SECTOR,
            .len = round_up(len, FAT_SECTOR),
            .read = read,
            .waits = read == clusters_read || read == table_read,
        };
}

static void parts_set(Vvfat *s)
{
    const FatTree *t = s->tree;
    const FatLayout *l = &t->layout;
    uint64_t table = div_round_up((uint64_t)(FAT_FIRST_CLUSTER + t->used) * l->bits, 8);

    if (l->hidden)
        part_add(s, 0, FAT_SECTOR, partition_read);
    part_add(s, l->hidden, l->reserved * FAT_SECTOR, reserved_read);
    part_add(s, fat_table_start(l, 0), table, table_read);
    part_add(s, fat_table_start(l, 1), table, table_read);
    if (l->root_sectors)
        part_add(s, fat_root_start(l), fat_tree_root(t)->entries->len, root_read);
    part_add(s, fat_clusters_start(l), (uint64_t)t->used * fat_cluster_len(l), clusters_read);
}

static bool layout_read(FatLayout *l, const json_t *o, GError **err)
{
    int64_t bits = json_get_int(o, "fat-type", 0);
    const char *label = json_get_str(o, "label", "QEMU VVFAT");

    if (bits && bits != 12 && bits != 16 && bits != 32)
        return err_set(err, EINVAL, "fat-type is %" G_GINT64_FORMAT ", not 12, 16 or 32", bits);
    if (strlen(label) > FAT_LABEL_LEN)
        return err_set(err, EINVAL, "The label '%s' is longer than %d bytes", label, FAT_LABEL_LEN);
    if (!fat_layout(l, bits, json_get_bool(o, "floppy", false)))
        return err_set(err, EINVAL, "A floppy is too small for FAT32");
    memcpy(l->label, label, strlen(label));
    return true;
}

/* Nobody writes to the folder, and in the sandbox no file could be opened when it is read. */
static bool vvfat_check_mode(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    if (json_get_bool(o, "rw", false))
        return err_set(err, ENOTSUP, "Folders can only be read here: there is no 'rw' of vvfat");
    if (flags & OPEN_UNTRUSTED)
        return err_set(err, ENOTSUP, "The files of a folder are opened when they are read, "
                       "which the sandbox forbids");
    return node_fall_back_read_only(n, "Folders can only be read here", err);
}

typedef struct {
    const char *path;
    const FatLayout *layout;
    FatTree *tree;
    GError **err;
} Scan;

static int scan_run(void *arg)
{
    Scan *s = arg;

    s->tree = fat_tree_read(s->path, s->layout, s->err);
    return 0;
}

static CO bool vvfat_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Vvfat *s = node_state(n);
    FatLayout layout;
    Scan scan = { .path = json_get_str(o, "dir", ""), .layout = &layout, .err = err };

    if (!vvfat_check_mode(n, o, flags, err) || !layout_read(&layout, o, err))
        return false;
    pool_run(scan_run, &scan);
    if (!scan.tree)
        return false;
    s->tree = scan.tree;
    if (s->tree->without_long)
        block_warn("In '%s', %u names are not UTF-8: shown as short names only", scan.path,
                   s->tree->without_long);
    if (s->tree->leading_back)
        block_warn("In '%s', %u links to a folder that they lie in are left out", scan.path,
                   s->tree->leading_back);
    parts_set(s);
    node_set_size(n, (uint64_t)fat_disk_sectors(&layout) * FAT_SECTOR);
    return true;
}

/* Whoever wrote to one of the files would destroy what is read. */
static bool vvfat_reads_file(const Node *node, FileIdentity id)
{
    const Vvfat *s = node_state(node);

    for (unsigned i = 0; s->tree && i < s->tree->nodes->len; i++) {   /* NULL: being opened */
        const FatNode *n = s->tree->nodes->pdata[i];

        if (!n->entries && n->size && n->device == id.device && n->inode == id.inode)
            return true;
    }
    return false;
}

static CO void vvfat_close(Node *n)
{
    Vvfat *s = node_state(n);

    g_clear_pointer(&s->tree, fat_tree_free);
}

static CO bool vvfat_reconfigure_prepare(Node *n, const json_t *o, OpenFlags flags, void **change,
                                         GError **err)
{
    return !(flags & OPEN_RDWR) || err_set(err, EACCES, "Folders can only be read here");
}

/* ---- requests -------------------------------------------------------------------------------- */

/* The part that @off is in, or NULL where zeroes are; *@len: as far as that goes, at most. */
static const Part *part_at(const Vvfat *s, uint64_t off, uint64_t *len)
{
    for (unsigned i = 0; i < s->part_count; i++) {
        const Part *p = &s->parts[i];

        if (off < p->off) {
            *len = MIN(*len, p->off - off);
            return NULL;
        }
        if (off - p->off < p->len) {
            *len = MIN(*len, p->len - (off - p->off));
            return p;
        }
    }
    return NULL;
}

typedef struct {
    const Vvfat *s;
    const Part *part;
    uint64_t off;        /* in the part */
    Span buf;
} PartRead;

static int part_read_run(void *arg)
{
    const PartRead *r = arg;

    return r->part->read(r->s, r->off, r->buf);
}

static CO int vvfat_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    const Vvfat *s = node_state(n);
    int r = 0;

    while (buf.len && r == 0) {
        uint64_t len = buf.len;
        const Part *p = part_at(s, off, &len);
        PartRead read = { .s = s, .part = p, .off = p ? off - p->off : 0,
                          .buf = span_slice(buf, 0, len) };

        if (!p)
            span_zero(read.buf);
        else
            r = p->waits ? pool_run(part_read_run, &read) : part_read_run(&read);
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

static CO int vvfat_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    const Part *p = part_at(node_state(n), off, &len);

    *e = (Extent){ .len = len, .flags = EXTENT_ALLOCATED | (p ? EXTENT_DATA : EXTENT_ZERO) };
    return 0;
}

static uint64_t vvfat_allocated(Node *n, bool *known)
{
    *known = false;
    return 0;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* The word before the next colon of @text, one of those that names may have, or NULL. */
static const char *word_take(const char **text)
{
    static const char *const words[] = { "12", "16", "32", "floppy", "ro", "rw" };
    const char *colon = strchr(*text, ':');

    for (size_t i = 0; colon && i < G_N_ELEMENTS(words); i++)
        if (strlen(words[i]) == colon - *text && g_str_has_prefix(*text, words[i])) {
            *text = colon + 1;
            return words[i];
        }
    return NULL;
}

static bool vvfat_parse_filename(const char *filename, json_t *o, GError **err)
{
    const char *rest = strchr(filename, ':') + 1, *word;
    int64_t bits = 0;
    bool floppy = false, rw = false;

    rest += *rest == ':';
    while ((word = word_take(&rest))) {
        if (g_ascii_isdigit(*word) && bits)
            return err_set(err, EINVAL, "'%s' names two types of FAT", filename);
        if (g_ascii_isdigit(*word))
            bits = g_ascii_strtoll(word, NULL, 10);
        floppy |= !strcmp(word, "floppy");
        rw |= !strcmp(word, "rw");
    }
    json_put_str(o, "dir", rest);
    json_put_int(o, "fat-type", bits);
    json_put_bool(o, "floppy", floppy);
    json_put_bool(o, "rw", rw);
    return true;
}

static const char *const vvfat_options[] = { "dir", "fat-type", "floppy", "label", "rw", NULL };

const BlockDriver block_vvfat = {
    .name = "vvfat",
    .kind = BLK_PROTOCOL,
    .prefix = "fat",
    .any_loop = true,
    .state_size = sizeof(Vvfat),
    .strong_options = vvfat_options,
    .fixed_options = vvfat_options,
    .parse_filename = vvfat_parse_filename,
    .open = vvfat_open,
    .close = vvfat_close,
    .reads_file = vvfat_reads_file,
    .reconfigure_prepare = vvfat_reconfigure_prepare,
    .pread = vvfat_pread,
    .extent = vvfat_extent,
    .allocated = vvfat_allocated,
};
