// The programs that a release is made with, asked for before anything is made.
import { spawnSync } from 'node:child_process'
import { zigCommand } from './addons.ts'

/** What each kind of file needs beside zig, and where it comes from. */
const programs = {
  deb: [['dpkg-deb', 'dpkg']],
  rpm: [['rpmbuild', 'rpm']],
  image: [
    ['dpkg-deb', 'dpkg'],
    ['buildah', 'buildah'],
  ],
  npm: [['npm', 'npm']],
} as const

/** One line for each program that is missing, with what installs it. `without`: kinds that are left out. */
export function missingPrograms(without: ReadonlySet<string>, runs = canRun): string[] {
  const needed = new Map<string, string>()
  for (const [kind, all] of Object.entries(programs))
    if (!without.has(kind)) for (const [program, debian] of all) needed.set(program, debian)
  const missing = [...needed].filter(([program]) => !runs(program))
  return [
    ...(zigCommand(runs) === undefined
      ? ['zig: pip install ziglang, or give its command in the environment as ZIG']
      : []),
    ...missing.map(([program, debian]) => `${program}: apt-get install ${debian}`),
  ]
}

function canRun(program: string, args: readonly string[] = ['--version']): boolean {
  return spawnSync(program, args).status === 0
}
