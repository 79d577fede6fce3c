/** The limit of file descriptors, and who may take how many of them, so that flows never use up those of the others. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { readdir } from 'node:fs/promises'

/** What the parts besides flows may hold at a time. Flows get what these and the rest of the process leave. */
export interface DescriptorShares {
  /** Connections of the admin server. */
  readonly admin: number
  /** DNS connections over TCP. */
  readonly dnsTcp: number
  /** Health checks in progress. */
  readonly checks: number
  /** Queries that wait for an upstream resolver: a socket each. */
  readonly forwards: number
  /** Files, connections to API servers and etcd, scans of folders. */
  readonly rest: number
}

/** With enough descriptors for everybody. */
const most: DescriptorShares = { admin: 80, dnsTcp: 1000, checks: 100, forwards: 1000, rest: 16 }

/** A limit that is large enough changes nothing; a small one is divided. */
export function descriptorShares(limit = descriptorLimit): DescriptorShares {
  const part = (of: keyof DescriptorShares, divisor: number) =>
    limit === undefined ? most[of] : Math.min(Math.max(Math.floor(limit / divisor), 8), most[of])
  return {
    admin: part('admin', 16),
    dnsTcp: part('dnsTcp', 8),
    checks: part('checks', 16),
    forwards: part('forwards', 8),
    rest: most.rest,
  }
}

export function sumOf(shares: DescriptorShares): number {
  return Object.values(shares).reduce((sum: number, share: number) => sum + share, 0)
}

/** The limit of `ulimit -n`, which Node has raised as far as it may at its start; undefined without /proc. */
export const descriptorLimit = softLimit()

function softLimit(): number | undefined {
  try {
    const found = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return found === undefined ? undefined : Number(found)
  } catch {
    return undefined
  }
}

/** What counts the descriptors that this process has open: at once where that is cheap, else on another thread. */
export type DescriptorCount = () => number | Promise<number>

/** Undefined without /proc. */
export const openDescriptors = descriptorCount()

/**
 * Since Linux 6.2 the size of the folder is their number. An older kernel, or a sandbox with a size of its own, has them listed: that
 * takes 3.5 ms for a thousand, which is not for the main thread. Called while few are open.
 */
export function descriptorCount(folder = '/proc/self/fd'): DescriptorCount | undefined {
  const size = () => statSync(folder).size
  // The list has the descriptor that reads it.
  const listed = (names: readonly string[]) => names.length - 1
  try {
    return size() === listed(readdirSync(folder)) ? size : async () => listed(await readdir(folder))
  } catch {
    return undefined
  }
}
