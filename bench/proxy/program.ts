/** Builds the load generators of bench/load: C, since JavaScript would be the slowest part of the measurement. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Place } from './place.ts'

const built = new Map<string, string>()

/** Path of the program built from `load/NAME.c`; throws where there is no C compiler. */
export function program(
  name: 'open-loop' | 'datagrams' | 'fairness' | 'exchange' | 'far' | 'relay',
  place: Place,
): string {
  const known = built.get(name)
  if (known) return known
  const source = fileURLToPath(new URL(`../load/${name}.c`, import.meta.url))
  const target = join(place.folder(name), name)
  const compiler = [process.env.CC, 'cc', 'gcc', 'clang'].find(each => each && !spawnSync(each, ['--version']).error)
  if (!compiler) throw new Error('no C compiler: install gcc or clang, or set CC')
  const { status, stderr } = spawnSync(compiler, ['-std=gnu11', '-O2', '-Wall', '-pthread', '-o', target, source], {
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`${compiler} cannot build ${name}.c: ${stderr.trim()}`)
  built.set(name, target)
  return target
}
