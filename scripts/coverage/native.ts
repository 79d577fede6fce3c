/** Coverage of the addon: what gcov counted in a build of its own. */
import { spawnSync } from 'node:child_process'
import { globSync, rmSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import type { Covered } from './table.ts'

export const folder = 'native/build-coverage'

/** Builds it, and forgets earlier counts. */
export function build(): void {
  const { status } = spawnSync(process.execPath, ['native/build.js', '--coverage', `--into=${folder}`], {
    stdio: 'inherit',
  })
  if (status !== 0) throw new Error('the addon could not be built')
  for (const counts of globSync(`${folder}/objects/*.gcda`)) rmSync(counts)
}

interface GcovLine {
  readonly line_number: number
  readonly count: number
  readonly branches: readonly { readonly count: number; readonly throw: boolean }[]
}

interface GcovReport {
  readonly files: readonly { readonly file: string; readonly lines: readonly GcovLine[] }[]
}

/** Branches that only an exception takes are left out: the pump is built to have none. */
export function read(): Covered[] {
  const lines = new Map<string, Map<number, { count: number; branches: number[] }>>()
  for (const counts of globSync(`${folder}/objects/*.gcda`)) {
    const command = ['--json-format', '--stdout', '--branch-probabilities', resolve(counts)]
    const { stdout, stderr, status } = spawnSync('gcov', command, {
      encoding: 'utf8',
      cwd: dirname(counts),
      maxBuffer: 1 << 28,
    })
    if (status !== 0) throw new Error(`gcov ${counts}: ${stderr}`)
    const reports = stdout
      .trim()
      .split('\n')
      .map(text => JSON.parse(text) as GcovReport)
    for (const { file, lines: found } of reports.flatMap(({ files }) => files))
      add(relative('', resolve(join(folder, 'objects'), file)), found)
  }
  return [...lines]
    .filter(([file]) => file.startsWith('native/src/'))
    .map(([file, found]) => {
      const all = [...found]
      const branches = all.flatMap(([line, { branches }]) => branches.map(count => ({ line, count })))
      const missed = (list: readonly (readonly [number, number])[]) =>
        list.flatMap(([at, count]) => (count ? [] : [at]))
      return {
        file,
        lines: all.length,
        missedLines: missed(all.map(([line, { count }]) => [line, count] as const)),
        branches: branches.length,
        missedBranches: missed(branches.map(({ line, count }) => [line, count] as const)),
      }
    })

  /** A header, and a function that several units have, is counted in each: the counts add up. */
  function add(file: string, found: readonly GcovLine[]): void {
    const known = lines.get(file) ?? new Map()
    lines.set(file, known)
    for (const { line_number: line, count, branches } of found) {
      const counts = branches.filter(branch => !branch.throw).map(branch => branch.count)
      const before = known.get(line)
      if (!before) known.set(line, { count, branches: counts })
      else {
        before.count += count
        counts.forEach((more, i) => {
          before.branches[i] = (before.branches[i] ?? 0) + more
        })
      }
    }
  }
}
