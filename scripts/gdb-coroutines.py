# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb command "coroutines": lists the coroutines of every thread's loop with their back-traces.

    (gdb) source scripts/gdb-coroutines.py
    (gdb) coroutines

Works on a running process and on a core. Frames of a stopped coroutine are reached by telling gdb
that the thread's innermost frame was called from where the coroutine left off; the picture of a
stopped stack is in io/switch.h.
"""
import gdb
import gdb.unwinder

# Registers above a stopped stack pointer, 8 bytes each; None is skipped.
SAVED = {
    'x86-64': [None, 'r15', 'r14', 'r13', 'r12', 'rbx', 'rbp', 'rip'],
    'aarch64': [f'x{n}' for n in range(19, 31)] + [None] * 8,
}


def saved_registers(arch, sp):
    """The registers a stopped coroutine continues with."""
    word = gdb.lookup_type('unsigned long')
    kind = 'x86-64' if 'x86-64' in arch else arch
    names = SAVED[kind]
    frame = sp.cast(word.pointer())
    regs = {name: frame[i] for i, name in enumerate(names) if name}
    top = gdb.Value(int(sp) + 8 * len(names)).cast(word)
    if kind == 'aarch64':
        regs['pc'], regs['sp'] = regs['x30'], top
    else:
        regs['rsp'] = top
    return regs


class Id:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class Bridge(gdb.unwinder.Unwinder):
    """While co_sp is set, the caller of frame 0 is the stopped coroutine."""

    def __init__(self):
        super().__init__('ferry coroutines')
        self.co_sp = self.thread_sp = None

    def __call__(self, pending):
        if self.co_sp is None or int(pending.read_register('sp')) != self.thread_sp:
            return None
        # gdb wants callers at higher addresses than the called.
        info = pending.create_unwind_info(Id(self.co_sp, pending.read_register('pc')))
        for name, value in saved_registers(pending.architecture().name(), self.co_sp).items():
            info.add_saved_register(name, value)
        return info

    def back_trace(self, co_sp):
        gdb.execute('frame 0', to_string=True)
        self.thread_sp = int(gdb.selected_frame().read_register('sp'))
        self.co_sp = co_sp
        gdb.invalidate_cached_frames()
        try:
            # The first line is the frame that the thread is really in.
            return gdb.execute('bt 40', to_string=True).split('\n', 1)[1]
        finally:
            self.co_sp = None
            gdb.invalidate_cached_frames()


class Coroutines(gdb.Command):
    """List the coroutines of all threads with their back-traces."""

    def __init__(self):
        super().__init__('coroutines', gdb.COMMAND_STACK)
        self.bridge = Bridge()
        gdb.unwinder.register_unwinder(None, self.bridge, replace=True)

    def list_loop(self, loop):
        co = loop['all']
        while int(co):
            fn = gdb.execute(f'info symbol {int(co["fn"])}', to_string=True).split()[0]
            state = str(co['state'])[3:].lower()
            print(f'\nCoroutine {co} {fn}({co["arg"]}): {state}')
            if int(co['context']):
                print('(no back-trace: switched by ucontext)')
            elif state != 'running':
                print(self.bridge.back_trace(co['sp']), end='')
            co = co['all_next']

    def invoke(self, argument, from_tty):
        before = gdb.selected_thread()
        for thread in reversed(gdb.selected_inferior().threads()):
            thread.switch()
            try:
                loop = gdb.parse_and_eval('loop_current')
            except gdb.error as e:
                print(f'Thread {thread.num}: {e}')
                continue
            if int(loop):
                print(f'Thread {thread.num} "{thread.name}": {int(loop["n_co"])} coroutines')
                self.list_loop(loop)
        before.switch()


Coroutines()
