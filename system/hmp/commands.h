/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands of the monitor for people, by the file that has them; commands.c lists them. */
#ifndef SYSTEM_HMP_COMMANDS_H
#define SYSTEM_HMP_COMMANDS_H

#include "monitor/hmp.h"
#include "system/run-state.h"
#include "system/vcpu.h"

extern const HmpCommand hmp_machine_commands[];
HmpRegister hmp_register;

/* The processor that @h means. */
Vcpu *hmp_vcpu(const Hmp *h);
/* False: said that there is none. */
bool hmp_has_vcpu(Hmp *h);
/* debug_begin; false, and said why. */
CO bool hmp_begin_look(Hmp *h);

#define HMP_COMMAND(name) CO void name(Hmp *h, const HmpArguments *a)
/* memory.c */
HMP_COMMAND(hmp_x);
HMP_COMMAND(hmp_xp);
HMP_COMMAND(hmp_print);
HMP_COMMAND(hmp_gpa2hva);
HMP_COMMAND(hmp_gva2gpa);
HMP_COMMAND(hmp_port_read);
HMP_COMMAND(hmp_port_write);
HMP_COMMAND(hmp_sum);
/* registers.c */
HMP_COMMAND(hmp_info_registers);
/* paging.c */
HMP_COMMAND(hmp_info_mem);
HMP_COMMAND(hmp_info_tlb);
/* info.c */
HMP_COMMAND(hmp_info_status);
HMP_COMMAND(hmp_info_version);
HMP_COMMAND(hmp_info_name);
HMP_COMMAND(hmp_info_uuid);
HMP_COMMAND(hmp_info_kvm);
HMP_COMMAND(hmp_info_cpus);
HMP_COMMAND(hmp_info_chardev);
HMP_COMMAND(hmp_info_memdev);
HMP_COMMAND(hmp_info_memory_size);
HMP_COMMAND(hmp_info_numa);
HMP_COMMAND(hmp_info_history);
/* info-block.c */
HMP_COMMAND(hmp_info_block);
HMP_COMMAND(hmp_info_blockstats);
HMP_COMMAND(hmp_info_jobs);
/* info-parts.c */
HMP_COMMAND(hmp_info_iothreads);
HMP_COMMAND(hmp_info_virtio);
HMP_COMMAND(hmp_info_hotpluggable_cpus);
HMP_COMMAND(hmp_info_mice);
HMP_COMMAND(hmp_info_nothing);
/* images.c */
HMP_COMMAND(hmp_block_resize);
HMP_COMMAND(hmp_block_set_io_throttle);
HMP_COMMAND(hmp_job_set_speed);
HMP_COMMAND(hmp_block_stream);
HMP_COMMAND(hmp_drive_mirror);
HMP_COMMAND(hmp_drive_backup);
HMP_COMMAND(hmp_snapshot_blkdev);
HMP_COMMAND(hmp_snapshot_blkdev_internal);
HMP_COMMAND(hmp_snapshot_delete_blkdev_internal);
HMP_COMMAND(hmp_drive_add);
HMP_COMMAND(hmp_drive_del);
/* exports.c */
HMP_COMMAND(hmp_nbd_start);
HMP_COMMAND(hmp_nbd_add);
HMP_COMMAND(hmp_nbd_remove);
/* objects.c */
HMP_COMMAND(hmp_qom_list);
HMP_COMMAND(hmp_qom_get);
HMP_COMMAND(hmp_qom_set);
HMP_COMMAND(hmp_chardev_change);
HMP_COMMAND(hmp_chardev_send_break);
HMP_COMMAND(hmp_ringbuf_write);
HMP_COMMAND(hmp_ringbuf_read);
HMP_COMMAND(hmp_netdev_add);
HMP_COMMAND(hmp_netdev_del);
HMP_COMMAND(hmp_closefd);
/* balloon.c */
HMP_COMMAND(hmp_balloon);
HMP_COMMAND(hmp_info_balloon);
/* medium.c */
HMP_COMMAND(hmp_eject);
HMP_COMMAND(hmp_change);
HMP_COMMAND(hmp_set_link);
HMP_COMMAND(hmp_announce_self);
/* migration.c */
HMP_COMMAND(hmp_migrate);
HMP_COMMAND(hmp_migrate_cancel);
HMP_COMMAND(hmp_migrate_continue);
HMP_COMMAND(hmp_migrate_incoming);
HMP_COMMAND(hmp_migrate_pause);
HMP_COMMAND(hmp_migrate_recover);
HMP_COMMAND(hmp_migrate_start_postcopy);
HMP_COMMAND(hmp_migrate_set_capability);
HMP_COMMAND(hmp_migrate_set_parameter);
HMP_COMMAND(hmp_info_migrate);
HMP_COMMAND(hmp_info_migrate_capabilities);
HMP_COMMAND(hmp_info_migrate_parameters);
/* dump.c */
HMP_COMMAND(hmp_dump);
HMP_COMMAND(hmp_info_dump);
HMP_COMMAND(hmp_calc_dirty_rate);
HMP_COMMAND(hmp_info_dirty_rate);
/* snapshot.c */
HMP_COMMAND(hmp_savevm);
HMP_COMMAND(hmp_loadvm);
HMP_COMMAND(hmp_delvm);
HMP_COMMAND(hmp_info_snapshots);
/* board.c */
HMP_COMMAND(hmp_info_mtree);
HMP_COMMAND(hmp_info_qtree);
HMP_COMMAND(hmp_info_qdm);
HMP_COMMAND(hmp_info_pic);
HMP_COMMAND(hmp_info_irq);
HMP_COMMAND(hmp_info_lapic);
HMP_COMMAND(hmp_watchdog_action);

#endif
