/**
 * Closes the sockets that the kernel has led to backends which are no more: no packet tells their programs. UDP sockets at once, so that
 * they begin anew with another backend; TCP connections after the drain, as everywhere else.
 */
import { readdirSync, statSync } from 'node:fs'
import { getSystemErrorMap } from 'node:util'
import { parseEndpoint } from '../../model/address.ts'
import type { Problem } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { KernelCalls } from '../../model/sockets/kernel.ts'
import type { Clock } from '../../model/time/clock.ts'
import { protocolNumber } from './records.ts'

export interface DepartedSocketsParts {
  readonly kernel: KernelCalls
  /** The map of sockets that were led; undefined while there is none. */
  readonly reverse: () => number | undefined
  /** Whether a list has this destination again. */
  readonly listed: (destination: string) => boolean
  /** Whether pods have network namespaces of their own. */
  readonly pods: boolean
  readonly drainMs: () => number
  readonly clock: Clock
  readonly log: Log
}

export class DepartedSockets {
  readonly #parts: DepartedSocketsParts
  readonly #waiting = new Set<() => void>()
  #problem: Problem | undefined

  constructor(parts: DepartedSocketsParts) {
    this.#parts = parts
  }

  problems(): Problem[] {
    return this.#problem ? [this.#problem] : []
  }

  /** They have left. Takes keys of backends. */
  retire(keys: readonly string[]): void {
    const destinations = keys.map(key => key.slice(key.indexOf('/') + 1))
    const isUdp = (destination: string) => destination.endsWith('/UDP')
    // The lists of the same change are written first, so that nobody comes back to them.
    this.#later(0, destinations.filter(isUdp))
    const others = destinations.filter(destination => !isUdp(destination))
    this.#later(this.#parts.drainMs(), others)
  }

  /** Nothing answers there any more. */
  lose(destinations: readonly string[]): void {
    this.#later(0, destinations)
  }

  close(): void {
    for (const cancel of this.#waiting) cancel()
    this.#waiting.clear()
  }

  #later(ms: number, destinations: readonly string[]): void {
    if (destinations.length === 0 || this.#parts.reverse() === undefined) return
    const cancel = this.#parts.clock.after(ms, () => {
      this.#waiting.delete(cancel)
      for (const one of destinations) if (!this.#parts.listed(one)) this.#cut(one)
    })
    this.#waiting.add(cancel)
  }

  #cut(destination: string): void {
    const { kernel, reverse, pods, log } = this.#parts
    const map = reverse()
    const slash = destination.lastIndexOf('/')
    const place = parseEndpoint(destination.slice(0, slash))
    if (map === undefined || !place) return
    const protocol = protocolNumber(destination.slice(slash + 1) === 'UDP' ? 'UDP' : 'TCP')
    const results = (pods ? namespaces() : ['']).map(netns =>
      kernel.closeSockets(netns, protocol, place.address, place.port, map),
    )
    const closed = results.filter(result => result > 0).reduce((sum, result) => sum + result, 0)
    const failed = results.find(result => result < 0 && !isGone(result))
    this.#problem = failed === undefined ? undefined : problemOf(failed, pods)
    if (closed > 0) log.info('offload.cut', { backend: destination, sockets: closed })
  }
}

/** ENOENT, ESRCH: the namespace has ended meanwhile. */
function isGone(result: number): boolean {
  return result === -2 || result === -3
}

/** Paths of the network namespaces that have processes, the own one first. Those of others are seen with the host's process numbers alone. */
function namespaces(): string[] {
  const inodes = new Map([[inodeOf('/proc/self/ns/net'), '']])
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const path = `/proc/${name}/ns/net`
    const inode = inodeOf(path)
    if (inode !== undefined && !inodes.has(inode)) inodes.set(inode, path)
  }
  return [...inodes.values()]
}

function inodeOf(path: string): number | undefined {
  try {
    return statSync(path).ino
  } catch {
    return undefined // its process has ended, or is another user's
  }
}

function problemOf(result: number, pods: boolean): Problem {
  const error = getSystemErrorMap().get(result)?.[0] ?? `error ${-result}`
  const remedy =
    error === 'ENOTSUP' || error === 'EOPNOTSUPP'
      ? 'the kernel was built without CONFIG_INET_DIAG_DESTROY'
      : pods && error === 'EPERM'
        ? 'give the capability SYS_ADMIN, and hostPID in a pod'
        : 'give the capability NET_ADMIN'
  const message = `sockets on backends that have left are not closed (${error}): ${remedy}. Their programs notice by themselves, UDP sockets perhaps never`
  return { code: 'OFFLOAD', where: 'proxy.ebpf.direct', message }
}
