#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every type of our schema is like the reference's.

The reference tells its schema with the names of types masked, so both are walked together from
roots whose place is known: the arguments and results of commands. What ours has more must be in
ADDED; what it has less must be a driver or kind of object that ours does not have at all.

The same is done with what our storage daemon tells, for each of its commands and events.
"""
import json
import re
import sys

from functions import BUILD, Daemon, Emulator, Show, judge

# Newer than the reference. Names of members: type.member.
ADDED = {
    'BlockdevOptionsQcow2.discard-no-unref', 'BlockdevOptionsLUKS.header',
    'BlockdevCreateOptionsLUKS.header', 'QCryptoBlockInfoLUKS.detached-header',
    'BlockdevOptionsNbd.tls', 'BlockdevOptionsNbd.connections',
    'BlockdevOptionsCurlHttp.force-range', 'BlockdevOptionsCurlHttps.force-range',
    # Of vpc and vhdx, whose differencing images the reference does not read.
    'BlockdevOptionsVpc.backing', 'BlockdevOptionsGenericCOWFormat.backing',
    'BlkdebugInjectErrorOptions.delay-ns', 'ImageInfo.limits', 'ImageInfo.children',
    'QmpBlockdevMirrorArgs.x-resume', 'QmpDriveMirrorArgs.x-resume',
    'JobType.x-compact', 'JobInfo.x-rate', 'JobInfo.x-seconds-left', 'QmpQueryJobsArgs.x-forecast',
    'MigrationInfo.x-forecast', 'MigrationInfo.x-downtime', 'MigrationInfo.x-holds',
    'BalloonInfo.x-holds', 'BalloonInfo.x-pending-target', 'BalloonInfo.x-kept',
    'BlockdevDriver.bzip2', 'BlockdevDriver.gzip', 'BlockdevDriver.tar', 'BlockdevDriver.unpack',
    'BlockdevDriver.xz', 'BlockdevDriver.zstd',
}
# Taken by the reference, too, but not told in its schema.
ADDED |= {'BlockdevOptionsNbd.host', 'BlockdevOptionsNbd.port', 'BlockdevOptionsNbd.path',
          'BlockdevOptionsSsh.host', 'BlockdevOptionsSsh.port', 'BlockdevOptionsSsh.host_key_check',
          'BlockdevOptionsIscsi.password', 'BlockdevOptionsRbd.x-settings',
          'BlockdevOptionsVpc.force_size_calc'}
# Optional since a newer release or in fact, mandatory in the reference's schema.
LOOSENED = {'BlockdevCreateOptionsLUKS.file', 'BlockdevOptionsNbd.server', 'BlockdevOptionsSsh.server',
            'BlkdebugSetStateOptions.new_state'}
# Drivers whose files blockdev-create cannot make yet; qemu-img can, by their names.
NOT_CREATED = {'nfs', 'ssh'}
# Drivers of ours alone; what their options are called.
DRIVERS_ADDED = {'bzip2', 'gzip', 'tar', 'unpack', 'xz', 'zstd'}
DRIVERS_OPTIONS = {'BlockdevOptionsCompressed', 'BlockdevOptionsArchive'}
# Enums of what exists: ours may have fewer values, and unions over them fewer cases.
SHORTER = {'BlockdevDriver', 'ObjectType', 'ImageInfoSpecificKind', 'BlockExportType',
           'ChardevBackendKind', 'TransactionActionKind'}
# Types that the reference's daemon does not tell, its manual does.
UNSEEN = {'MapEntry', 'ImageCheck', 'BlockMeasureInfo', 'BlockLimitsInfo', 'BlockChildInfo',
          '[BlockChildInfo]', 'MonitorOptions', 'MonitorMode', 'NbdServerOptions',
          '[uint16]', '[uint32]', 'VpcSizeRule', 'MigrationForecast', 'MigrationDowntime', 'MigrationStage',
          '[MigrationStage]', 'MigrationReason', '[MigrationReason]', 'MigrationEndMemory', '[MigrationEndMemory]',
          'MigrationEndProcessors', 'MigrationEndSection', '[MigrationEndSection]', 'MigrationEndDisk',
          'MigrationEndDevice', '[MigrationEndDevice]', 'MigrationEnd', 'MigrationVerdict', 'MigrationSubject',
          'HoldInfo', '[HoldInfo]', 'AddfdInfo', 'FdsetInfo', 'FdsetFdInfo'}
# Types that are only bases: their members show in other types.
BASES = {'BackupCommon', 'BlockdevOptionsCurlBase', 'BlockdevOptionsGenericCOWFormat', 'EventLoopBaseProperties',
         'SecretCommonProperties', 'ImageInfoSpecificQCow2EncryptionBase', 'QCryptoBlockOptionsBase', 'TlsCredsProperties',
         'BlockExportOptionsNbdBase', 'ChardevCommon'}
# Commands of ours that the reference's daemon does not have.
COMMANDS_ADDED = {'getfd', 'closefd', 'add-fd', 'remove-fd', 'query-fdsets', 'blockdev-set-active',
                  'x-compact'}
# The same of the emulator.
EMULATOR_COMMANDS_ADDED = {'blockdev-set-active', 'x-compact', 'x-memory-hold', 'x-memory-release', 'X_MEMORY_HELD',
                           'X_MEMORY_RELEASED', 'x-migrate-check', 'x-migrate-describe'}


class Comparison:
    def __init__(self, ours, theirs):
        self.ours = {e['name']: e for e in ours}
        self.theirs = {e['name']: e for e in theirs}
        self.names = {}
        self.problems = []
        self.seen = set()

    def complain(self, name, text):
        self.problems.append(f'{name}: {text}')

    def compare(self, our, their):
        if (our, their) in self.seen:
            return
        self.seen.add((our, their))
        a, b = self.ours[our], self.theirs[their]
        if a['meta-type'] != b['meta-type']:
            self.complain(our, f"is {a['meta-type']}, not {b['meta-type']}")
            return
        if a.get('features') != b.get('features'):
            self.complain(our, f"features {a.get('features')}, not {b.get('features')}")
        getattr(self, a['meta-type'])(our, a, b)

    def builtin(self, our, a, b):
        if a != b:
            self.complain(our, f'{a}, not {b}')

    def array(self, our, a, b):
        self.compare(a['element-type'], b['element-type'])

    def enum(self, our, a, b):
        ours, theirs = ([m['name'] for m in e['members']] for e in (a, b))
        if a['values'] != ours:
            self.complain(our, 'values and members differ')
        added = {v for v in set(ours) - set(theirs) if f'{our}.{v}' not in ADDED}
        if added:
            self.complain(our, f'adds values {added}')
        if our not in SHORTER and set(theirs) - set(ours):
            self.complain(our, f'lacks values {set(theirs) - set(ours)}')

    def alternate(self, our, a, b):
        """Branches are matched by what their values look like."""
        ours = {self.shape(self.ours, m['type']): m['type'] for m in a['members']}
        theirs = {self.shape(self.theirs, m['type']): m['type'] for m in b['members']}
        if set(ours) != set(theirs):
            self.complain(our, f'branches {set(ours)}, not {set(theirs)}')
        for shape in set(ours) & set(theirs):
            self.compare(ours[shape], theirs[shape])

    @staticmethod
    def shape(types, name):
        kind = types[name]['meta-type']
        return name if kind == 'builtin' else kind

    def object(self, our, a, b):
        ours, theirs = ({m['name']: m for m in e['members']} for e in (a, b))
        for name in theirs.keys() - ours.keys():
            self.complain(our, f'lacks {name}')
        for name in ours.keys() - theirs.keys():
            if f'{our}.{name}' not in ADDED or 'default' not in ours[name]:
                self.complain(our, f'adds {name}')
        for name in ours.keys() & theirs.keys():
            self.member(our, name, ours[name], theirs[name])
        if a.get('tag') != b.get('tag'):
            self.complain(our, f"tag {a.get('tag')}, not {b.get('tag')}")
        elif 'tag' in a:
            self.cases(our, a, b)

    def member(self, our, name, a, b):
        loosened = f'{our}.{name}' in LOOSENED
        if ('default' in a) != ('default' in b) and not loosened:
            self.complain(our, f'{name} is optional in only one')
        if a.get('features') != b.get('features'):
            self.complain(our, f"{name}: features {a.get('features')}, not {b.get('features')}")
        self.compare(a['type'], b['type'])

    def cases(self, our, a, b):
        theirs = {v['case']: v['type'] for v in b['variants']}
        for v in a['variants']:
            if v['case'] in DRIVERS_ADDED:
                continue
            if v['case'] not in theirs:
                self.complain(our, f"adds case {v['case']}")
            elif v['case'] not in NOT_CREATED or 'size' not in {
                    m['name'] for m in self.theirs[theirs[v['case']]]['members']}:
                self.compare(v['type'], theirs[v['case']])

    def their_path(self, command, *path):
        """The type at the end of a path of members from the argument or result of a command."""
        name = self.theirs[command][path[0]]
        for step in path[1:]:
            entity = self.theirs[name]
            if entity['meta-type'] == 'array':
                name = entity['element-type']
            else:
                name = next(m['type'] for m in entity['members'] if m['name'] == step)
        return name


class Numbered(Comparison):
    """Of what our daemon tells, whose types have numbers: complaints and lists know their names."""

    def __init__(self, ours, theirs, named):
        super().__init__(ours, theirs)
        self.named = {e['name']: e for e in named}

    def learn(self, number, name):
        """Type @number is called @name in the schema."""
        if number in self.names or name not in self.named:
            return
        self.names[number] = name
        a, b = self.ours[number], self.named[name]
        if 'element-type' in a:
            self.learn(a['element-type'], b['element-type'])
        for m, n in zip(a.get('members', []), b.get('members', [])):
            if 'type' in m:
                self.learn(m['type'], n['type'])
        cases = {w['case']: w for w in b.get('variants', []) if 'case' in w}
        for v in a.get('variants', []):
            if v.get('case') in cases: # a program may have fewer than the schema
                self.learn(v['type'], cases[v['case']]['type'])

    def compare(self, our, their):
        """As with names: the entity of ours is looked at under its own."""
        if our in self.names and self.names[our] != our:
            self.ours.setdefault(self.names[our], self.ours[our])
            our = self.names[our]
        super().compare(our, their)

    def command(self, name):
        a, b = self.ours[name], self.theirs[name]
        for key in ('meta-type', 'features', 'allow-oob'):
            if a.get(key) != b.get(key):
                self.complain(name, f'{key} {a.get(key)}, not {b.get(key)}')
        for key in ('arg-type', 'ret-type'):
            if key in a:
                self.compare(a[key], b[key])


class Narrower(Numbered):
    """The same where ours may lack what is optional, values of enums, and a union's cases."""

    def complain(self, name, text):
        if not text.startswith('lacks values'):
            super().complain(name, text)

    def object(self, our, a, b):
        ours = {m['name'] for m in a['members']}
        members = [m for m in b['members'] if m['name'] in ours or 'default' not in m]
        kept = dict(b, members=members)
        if 'tag' in b and 'tag' not in a and b['tag'] in ours:
            del kept['tag']
        super().object(our, a, kept)

    def member(self, our, name, a, b):
        """Ours always has what theirs may have."""
        if 'default' in b and 'default' not in a:
            b = {k: v for k, v in b.items() if k != 'default'}
        super().member(our, name, a, b)


# What is named in the schema though the reference's daemon gives commands their members directly.
TYPES_OF_COMMANDS = {
    'netdev_add': 'Netdev', 'device_add': 'DeviceAddArguments', 'announce-self': 'AnnounceParameters',
    'block_set_io_throttle': 'BlockIOThrottle',
    'migrate-set-parameters': 'MigrateSetParameters',
    'blockdev-add': 'BlockdevOptions', 'object-add': 'ObjectOptions',
    'block-export-add': 'BlockExportOptions', 'nbd-server-add': 'NbdServerAddOptions',
    'query-named-block-nodes': '[BlockDeviceInfo]',
}


def type_of_members(entity):
    """Our name for the members of a command or an event."""
    words = re.split('[-_]', entity['name'])
    return 'Qmp' + ''.join(w[:1].upper() + w[1:].lower() for w in words) + \
        {'command': 'Args', 'event': 'Data'}[entity['meta-type']]


def told_problems(c, added):
    """Differences of what one of our programs tells, by command and event; those @added are skipped."""
    told = list(c.ours.values())
    for e in told:
        if e['meta-type'] in ('command', 'event'):
            key = 'ret-type' if e['name'].startswith('query-named') else 'arg-type'
            if key in e:
                c.learn(e[key], TYPES_OF_COMMANDS.get(e['name']) or type_of_members(e))
            if e['name'] in TYPES_OF_RESULTS:
                c.learn(e['ret-type'], TYPES_OF_RESULTS[e['name']])
    for e in told:
        if e['meta-type'] in ('command', 'event') and e['name'] not in added:
            before = len(c.problems)
            if e['name'] in c.theirs:
                c.command(e['name'])
            else:
                c.complain(e['name'], 'is not known')
            yield e['name'], c.problems[before:]


# The same of results of the emulator's commands.
TYPES_OF_RESULTS = {
    'query-dirty-rate': 'DirtyRateInfo',
    'query-dump-guest-memory-capability': 'DumpGuestMemoryCapability',
    'query-jobs': '[JobInfo]',
    'query-status': 'StatusInfo', 'query-cpus-fast': '[CpuInfoFast]', 'query-kvm': 'KvmInfo',
    'query-machines': '[MachineInfo]', 'query-name': 'NameInfo', 'query-uuid': 'UuidInfo',
    'query-target': 'TargetInfo', 'query-cpu-definitions': '[CpuDefinitionInfo]',
    'query-memory-size-summary': 'MemoryInfo', 'query-migrate': 'MigrationInfo',
    'query-migrate-parameters': 'MigrationParameters', 'query-memdev': '[Memdev]',
    'query-migrate-capabilities': '[MigrationCapabilityStatus]', 'query-rx-filter': '[RxFilterInfo]',
    'query-command-line-options': '[CommandLineOptionInfo]', 'query-display-options': 'DisplayOptions',
    'query-current-machine': 'CurrentMachineParams', 'query-balloon': 'BalloonInfo',
    'query-cpu-model-expansion': 'CpuModelExpansionInfo', 'query-iothreads': '[IOThreadInfo]',
    'query-hotpluggable-cpus': '[HotpluggableCPU]', 'query-memory-devices': '[MemoryDeviceInfo]',
    'query-acpi-ospm-status': '[ACPIOSTInfo]', 'query-pci': '[PciInfo]', 'query-mice': '[MouseInfo]',
    'x-query-virtio': '[VirtioInfo]', 'x-query-irq': 'HumanReadableText',
}

ROOTS = {
    'BlockdevOptions': ('blockdev-add', 'arg-type'),
    'BlockdevCreateOptions': ('blockdev-create', 'arg-type', 'options'),
    'BlockdevAmendOptions': ('x-blockdev-amend', 'arg-type', 'options'),
    'ObjectOptions': ('object-add', 'arg-type'),
    'ImageInfo': ('query-named-block-nodes', 'ret-type', '', 'image'),
    'BlockDeviceInfo': ('query-named-block-nodes', 'ret-type', ''),
    'BlockExportOptions': ('block-export-add', 'arg-type'),
    'BlockExportInfo': ('query-block-exports', 'ret-type', ''),
    'SocketAddressLegacy': ('nbd-server-start', 'arg-type', 'addr'),
    'ChardevBackend': ('chardev-add', 'arg-type', 'backend'),
    'ChardevReturn': ('chardev-add', 'ret-type'),
    'ChardevInfo': ('query-chardev', 'ret-type', ''),
    'ChardevBackendInfo': ('query-chardev-backends', 'ret-type', ''),
    'DataFormat': ('ringbuf-read', 'arg-type', 'format'),
    'VersionInfo': ('query-version', 'ret-type'),
    'CommandInfo': ('query-commands', 'ret-type', ''),
    'SchemaInfo': ('query-qmp-schema', 'ret-type', ''),
    'ObjectPropertyInfo': ('qom-list', 'ret-type', ''),
    'ObjectTypeInfo': ('qom-list-types', 'ret-type', ''),
    'NbdServerAddOptions': ('nbd-server-add', 'arg-type'),
    'BlockExportRemoveMode': ('block-export-del', 'arg-type', 'mode'),
    'BlockdevSnapshot': ('blockdev-snapshot', 'arg-type'),
    'BlockDirtyBitmapAdd': ('block-dirty-bitmap-add', 'arg-type'),
    'QMPCapability': ('qmp_capabilities', 'arg-type', 'enable', ''),
    'BlockdevBackup': ('blockdev-backup', 'arg-type'),
    'BlockdevSnapshotSync': ('blockdev-snapshot-sync', 'arg-type'),
    'BlockdevSnapshotInternal': ('blockdev-snapshot-internal-sync', 'arg-type'),
    'BlockDirtyBitmapMerge': ('block-dirty-bitmap-merge', 'arg-type'),
    'TransactionAction': ('transaction', 'arg-type', 'actions', ''),
    'TransactionProperties': ('transaction', 'arg-type', 'properties'),
    'BlockJobInfo': ('query-block-jobs', 'ret-type', ''),
    'JobInfo': ('query-jobs', 'ret-type', ''),
    'IoOperationType': ('BLOCK_JOB_ERROR', 'arg-type', 'operation'),
    'BlockErrorAction': ('BLOCK_JOB_ERROR', 'arg-type', 'action'),
    'MirrorCopyMode': ('blockdev-mirror', 'arg-type', 'copy-mode'),
    'QuorumOpType': ('QUORUM_REPORT_BAD', 'arg-type', 'type'),
    'BlockDirtyBitmapSha256': ('x-debug-block-dirty-bitmap-sha256', 'ret-type'),
    'BlockInfo': ('query-block', 'ret-type', ''),
    'BlockStats': ('query-blockstats', 'ret-type', ''),
    'XDbgBlockGraph': ('x-debug-query-block-graph', 'ret-type'),
}


def main():
    with Daemon() as daemon, Show('introspect') as show:
        ours, theirs = json.loads(show.line(b'')), daemon.ask('query-qmp-schema')
    c = Comparison(ours, theirs)
    for root, path in ROOTS.items():
        before = len(c.problems)
        c.compare(root, c.their_path(*path))
        judge(f'from-{root}', c.problems[before:])
    with Daemon(BUILD) as daemon:
        told = daemon.ask('query-qmp-schema')
    for name, problems in told_problems(Numbered(told, theirs, ours), COMMANDS_ADDED):
        judge(f'of-{name}', problems)
    with Emulator(BUILD) as emulator, Emulator() as reference:
        told, theirs_told = (e.ask('query-qmp-schema') for e in (emulator, reference))
    narrower = Narrower(told, theirs_told, ours)
    for name, problems in told_problems(narrower, EMULATOR_COMMANDS_ADDED):
        judge(f'of-emulator-{name}', problems)
    # Types made for the members of one command are compared with that.
    compound = {n for n, e in c.ours.items()
                if e['meta-type'] != 'builtin' and not re.match(r'(\[)?Qmp.*(Args|Data)', n)}
    seen = {narrower.names.get(our, our) for our, _ in c.seen | narrower.seen}
    judge('every-type-is-compared', sorted(n for n in compound - seen - UNSEEN - BASES - DRIVERS_OPTIONS
                                           if n.strip('[]') not in seen | UNSEEN))
    absent = {a for a in ADDED | LOOSENED
              if a.split('.')[1] not in {m['name'] for m in c.ours[a.split('.')[0]]['members']}}
    judge('list-of-additions-is-true', sorted(absent))
    judge('comparison-notices-differences', unnoticed(ours, theirs))


def unnoticed(ours, theirs):
    """Changes to our schema that the comparison does not notice; there should be none."""
    missed = []
    changes = {
        'a member less': lambda t: t['BlockdevOptionsQcow2']['members'].pop(),
        'a member more': lambda t: t['BlockdevOptionsRaw']['members'].append(
            {'name': 'x', 'type': 'int', 'default': None}),
        'another type': lambda t: t['BlockdevOptionsFile']['members'][0].update(type='int'),
        'not optional': lambda t: t['BlockdevCacheOptions']['members'][0].pop('default'),
        'a value less': lambda t: t['BlkdebugEvent']['members'].pop(),
        'another tag': lambda t: t['BlockdevOptions'].update(tag='node-name'),
        'no feature': lambda t: t['BlockdevOptionsFile'].pop('features'),
    }
    for name, change in changes.items():
        changed = json.loads(json.dumps(ours))
        change({e['name']: e for e in changed})
        c = Comparison(changed, theirs)
        c.compare('BlockdevOptions', c.their_path(*ROOTS['BlockdevOptions']))
        if not c.problems:
            missed.append(name)
    return missed


if __name__ == '__main__':
    sys.exit(main())
