# SPDX-License-Identifier: GPL-2.0-or-later
"""Do a program's help, manual page and bash completion know the same options?"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]


def difference(what, a, b, in_a, in_b):
    for x in sorted(a - b):
        yield f'{what} {x} is in {in_a} only'
    for x in sorted(b - a):
        yield f'{what} {x} is in {in_b} only'


def long_options(text):
    return set(re.findall(r'(?<![\w-])--[a-z][a-z-]+', text))


def short_options(text):
    return set(re.findall(r'(?<![\w-])-[A-Za-z](?![\w-])', text))


class Documents:
    """Those of program @name, whose page is in section @section and whose @commands have help of their own."""

    def __init__(self, name, section, commands=()):
        self.name, self.commands = name, commands
        self.page_path = TOP / f'docs/man/{name}.{section}'
        self.tool = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve() / name
        self.failed = []

    def is_built(self):
        return self.tool.exists()

    def judge(self, name, problems):
        problems = list(problems)
        print(f'not ok {self.name}/documents/{name} {problems[0]}' if problems else
              f'ok {self.name}/documents/{name}')
        self.failed.extend(problems)

    def run(self, *args):
        return subprocess.run([self.tool, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True).stdout

    def help_options(self):
        """Options of the lines of --help that start with one."""
        text = '\n'.join([self.run('--help'), *(self.run(c, '--help') for c in self.commands)])
        heads = '\n'.join(m[0] for m in re.finditer(r'(?m)^ {2,6}-\S+(, --\S+| \S+)*', text))
        return long_options(heads) | short_options(heads)

    def page_section(self, name):
        text = self.page_path.read_text()
        return re.search(rf'(?ms)^\.SH {name}$(.*?)^\.SH ', text)[1].replace('\\-', '-')

    def page_options(self):
        heads = '\n'.join(re.findall(r'(?m)^\.TP\n(\..*)$', self.page_section('OPTIONS')))
        return long_options(heads) | short_options(heads)

    def completion_words(self, line):
        function = '_' + self.name.replace('-', '_')
        script = f'''source {shlex.quote(str(TOP / "scripts/completion" / self.name))}
compopt() {{ :; }}
COMP_WORDS=({line}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
{function}; printf '%s\\n' "${{COMPREPLY[@]}}"'''
        done = subprocess.run(['bash', '-c', script], stdout=subprocess.PIPE, text=True, check=True)
        return set(done.stdout.split())

    def completed_options(self):
        tool = shlex.quote(str(self.tool))
        return set().union(*(self.completion_words(f'{tool} {c} -') for c in ('', *self.commands)))

    def check_options(self, at_least):
        known = self.help_options()
        self.judge('help-knows-options',
                   [] if len(known) > at_least else [f'only {sorted(known)} found'])
        self.judge('page-options', difference('option', known, self.page_options(), '--help',
                                              'the manual page'))
        self.judge('completion-options',
                   difference('option', known, self.completed_options(), '--help', 'the completion'))

    def check_formats(self):
        formats = set(re.search(r'Supported formats: (.*)', self.run('--help'))[1].split())
        line = f"{shlex.quote(str(self.tool))} -f ''"
        self.judge('completion-formats', difference('format', formats, self.completion_words(line),
                                                    '--help', 'the completion'))

    def check_page(self):
        if not shutil.which('man'):
            print(f'skip {self.name}/documents/page-is-well-formed man is not installed')
            return
        done = subprocess.run(['man', '--warnings', '-l', str(self.page_path)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              env=dict(os.environ, LC_ALL='C.UTF-8', MANPAGER='cat'))
        self.judge('page-is-well-formed', done.stderr.splitlines())
