/** A cgroup with a limit of memory, below that of this process: version 1 or 2, whichever the machine has. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = '/sys/fs/cgroup'

/** Why there can be none. */
export function noMemoryGroup(): string | undefined {
  try {
    new MemoryGroup(1024).close()
    return undefined
  } catch (error) {
    return `a cgroup with a limit of memory cannot be made (${(error as NodeJS.ErrnoException).code ?? (error as Error).message})`
  }
}

let groups = 0

export class MemoryGroup {
  readonly #folder: string
  /** Where its processes go when it ends. */
  readonly #above: string

  constructor(mebibytes: number) {
    const { above, limit } = place()
    this.#above = above
    this.#folder = join(above, `starlane-faults-${process.pid}-${++groups}`)
    mkdirSync(this.#folder)
    try {
      writeFileSync(join(this.#folder, limit), String(mebibytes << 20))
      if (limit === 'memory.max') writeFileSync(join(this.#folder, 'memory.swap.max'), '0')
    } catch (error) {
      rmdirSync(this.#folder)
      throw error
    }
  }

  /** What it has used before stays with the group it was in. */
  take(pid: number): void {
    writeFileSync(join(this.#folder, 'cgroup.procs'), String(pid))
  }

  /** Those that are left go back. */
  close(): void {
    for (const pid of readFileSync(join(this.#folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean)) {
      try {
        writeFileSync(join(this.#above, 'cgroup.procs'), pid)
      } catch {} // it has ended
    }
    for (let tries = 0; ; tries++) {
      try {
        return rmdirSync(this.#folder)
      } catch (error) {
        // A process that was just killed is still leaving.
        if (tries > 100) throw error
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
      }
    }
  }
}

function place(): { above: string; limit: string } {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').split('\n')
  const first = lines
    .map(line => /^[0-9]+:([^:]*):(.*)$/.exec(line))
    .find(found => found?.[1]?.split(',').includes('memory'))
  if (first) return { above: join(root, 'memory', first[2] ?? ''), limit: 'memory.limit_in_bytes' }
  const [, own = '/'] = /^0::(.*)$/m.exec(lines.join('\n')) ?? []
  // A group with processes of its own passes no controller on: the root does.
  const candidates = [join(root, own), root]
  const above = candidates.find(folder => controllers(folder).includes('memory'))
  if (above === undefined) throw new Error('no cgroup passes on the memory controller')
  return { above, limit: 'memory.max' }
}

function controllers(folder: string): string[] {
  const file = join(folder, 'cgroup.subtree_control')
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split(' ') : []
}
