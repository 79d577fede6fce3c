/** The limit of file descriptors, and who may take how many of them, so that flows never use up those of the others. */
import { readFileSync } from 'node:fs'

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
