/**
 * Makes ClusterIPs addresses of this machine, so that listeners can bind them and clients' packets arrive here: a `local`
 * route on lo for each (Linux AnyIP). Needs iproute2 and NET_ADMIN. Our routes carry a protocol number of their own. Only
 * routes that this process added, or that one which has ended left behind, are ever removed. Programs of this machine connect from
 * a loopback address, by which plugins know them; without it the kernel would give them the very ClusterIP that they connect to.
 */
import { readFile, writeFile } from 'node:fs/promises'
import type { Server } from 'node:net'
import { canonicalAddress, familyOf } from '../../model/address.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import { takeLock } from '../netns-lock.ts'
import { type Output, runCommand } from './command.ts'

/** Marks our routes: `ip route show table local proto 196`. No routing daemon in iproute2's rt_protos uses this number. */
const tag = 196
// Abstract sockets of the network namespace. Each process holds one of them while routes may be its own: if all others are free,
// the tagged routes are leftovers of processes that have ended.
const lockNames = [0, 1, 2, 3].map(i => `starlane-anyip-${i}`)
// A `local` route is enough to bind an IPv4 address. For IPv6 the kernel accepts only addresses of interfaces, unless this is 1.
const nonlocalBind = '/proc/sys/net/ipv6/ip_nonlocal_bind'

export interface LocalRoutesParts {
  readonly log: Log
  /** iproute2's program; `ip` unless a test says otherwise. */
  readonly command?: string
}

/** Calls take effect one after the other, in the order of the calls. */
export class LocalRoutes {
  readonly #log: Log
  readonly #command: string
  #succeeds = false
  /** Canonical addresses whose routes we remove on close. */
  readonly #held = new Set<string>()
  #last: Promise<void> = Promise.resolve()
  #lock: Server | undefined
  #leftovers: Set<string> | undefined
  #openedIpv6 = false
  #closed = false

  constructor({ log, command = 'ip' }: LocalRoutesParts) {
    this.#log = log
    this.#command = command
  }

  /** From now on the routes of a predecessor that are asked for are held, as if this process had added them. */
  succeed(): void {
    this.#succeeds = true
  }

  /** The routes are a successor's: nothing is removed. */
  abandon(): Promise<void> {
    this.#closed = true
    return this.#inTurn(async () => {
      this.#held.clear()
      this.#leftovers = new Set()
      this.#openedIpv6 = false
      this.#lock?.close()
      this.#lock = undefined
    })
  }

  /**
   * Resolves when all can be bound. Rejects with `MeshError` LISTEN that names the cause and the remedy; the routes that
   * could be added stay. Skips addresses that are held or of loopback, and leaves routes of other programs alone.
   */
  add(addresses: readonly string[]): Promise<void> {
    return this.#inTurn(() => this.#add(addresses))
  }

  /** Skips addresses that we do not hold. */
  remove(addresses: readonly string[]): Promise<void> {
    return this.#inTurn(() => this.#remove(addresses))
  }

  /** Removes what processes that have ended left for addresses that were not added until now. */
  removeLeftovers(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#closed) return
      this.#leftovers ??= await this.#findLeftovers()
      await this.#dropLeftovers()
    })
  }

  /** Removes all routes that are held, and leftovers; later calls add nothing. */
  close(): Promise<void> {
    this.#closed = true
    return this.#inTurn(async () => {
      await this.#remove([...this.#held])
      await this.#dropLeftovers()
      if (this.#openedIpv6) await writeFile(nonlocalBind, '0').catch(error => this.#sayLeft(nonlocalBind, error))
      this.#openedIpv6 = false
      this.#lock?.close()
      this.#lock = undefined
    })
  }

  async #add(addresses: readonly string[]): Promise<void> {
    const fresh = [...new Set(addresses)].filter(address => !this.#held.has(address) && !isLoopback(address))
    if (fresh.length === 0 || this.#closed) return
    for (const address of fresh) assertCanonical(address)

    this.#leftovers ??= await this.#findLeftovers()
    // That of an earlier version may have no source.
    const lines = fresh.map(address => `route ${this.#adopt(address) ? 'replace' : 'add'} ${routeTo(address)}`)
    const faults = await this.#batch(lines)
    const failed: [address: string, fault: string][] = []
    for (const [i, address] of fresh.entries()) {
      const fault = faults.get(i)
      if (fault === undefined || (this.#succeeds && fault.includes('File exists'))) this.#held.add(address)
      else if (fault.includes('File exists')) this.#log.debug('anyip.present', { address })
      else failed.push([address, fault])
    }
    if (fresh.some(address => familyOf(address) === 6)) await this.#openIpv6()
    if (failed.length > 0) throw cannotAdd(failed)
  }

  async #remove(addresses: readonly string[]): Promise<void> {
    const held = addresses.filter(address => this.#held.delete(address))
    const faults = await this.#batch(held.map(address => `route del local ${address} dev lo proto ${tag}`))
    for (const [i, fault] of faults) {
      // Another program removed it.
      if (!fault.includes('No such process')) this.#sayLeft(`${held[i]}`, fault)
    }
  }

  async #dropLeftovers(): Promise<void> {
    const left = [...(this.#leftovers ?? [])]
    if (left.length === 0) return
    this.#leftovers = new Set()
    for (const address of left) this.#held.add(address)
    this.#log.info('anyip.leftovers', { removed: left.length })
    await this.#remove(left)
  }

  #adopt(address: string): boolean {
    if (!this.#leftovers?.delete(address)) return false
    this.#held.add(address)
    return true
  }

  /** Tagged routes of a process that has ended; none when another Starlane runs in this network namespace. */
  async #findLeftovers(): Promise<Set<string>> {
    if (await this.#othersRun()) return new Set()
    const found: string[] = []
    for (const family of ['-4', '-6']) {
      const show = `${family} -json route show table local type local proto ${tag}`
      const { stdout } = await this.#run(show.split(' '))
      const routes: readonly { readonly dst: string }[] = stdout.trim() === '' ? [] : JSON.parse(stdout)
      found.push(...routes.map(({ dst }) => canonicalAddress(dst) ?? dst))
    }
    return new Set(found)
  }

  /** Takes a lock. Whether another process has one, or all are taken. */
  async #othersRun(): Promise<boolean> {
    const locks = await Promise.all(lockNames.map(takeLock))
    const [own, ...spare] = locks.filter(lock => lock !== undefined)
    this.#lock = own
    for (const lock of spare) lock.close()
    return locks.includes(undefined)
  }

  async #openIpv6(): Promise<void> {
    try {
      if ((await readFile(nonlocalBind, 'utf8')).trim() === '1') return
      await writeFile(nonlocalBind, '1')
      this.#openedIpv6 = true
    } catch (error) {
      const found = `IPv6 ClusterIPs cannot be bound while ${nonlocalBind} is not 1, and it cannot be set: ${messageOf(error)}`
      const remedy = 'run "sysctl -w net.ipv6.ip_nonlocal_bind=1" on this node, or set it for the pod'
      throw new MeshError('LISTEN', `proxy.anyip: ${found}; ${remedy}`, { cause: error })
    }
  }

  /** One run of `ip` for thousands of lines. Returns the faults by line. */
  async #batch(lines: readonly string[]): Promise<Map<number, string>> {
    if (lines.length === 0) return new Map()
    const { stderr, failed } = await this.#run(['-force', '-batch', '-'], `${lines.join('\n')}\n`)
    const faults = faultsByLine(stderr)
    if (failed && faults.size === 0) throw cannotRun(this.#command, stderr.trim())
    return faults
  }

  async #run(args: readonly string[], input = ''): Promise<Output> {
    try {
      return await runCommand(this.#command, args, input)
    } catch (error) {
      throw cannotRun(this.#command, messageOf(error), error)
    }
  }

  #sayLeft(what: string, why: unknown): void {
    this.#log.warn('anyip.left', { what, why: messageOf(why) })
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => {})
    return turn
  }
}

/** With the address that programs of this machine connect from. */
function routeTo(address: string): string {
  return `local ${address} dev lo proto ${tag} src ${familyOf(address) === 4 ? '127.0.0.1' : '::1'}`
}

/** `ip -force -batch` prints what went wrong, then `Command failed -:LINE`. */
function faultsByLine(stderr: string): Map<number, string> {
  const faults = new Map<number, string>()
  let words: string[] = []
  for (const line of stderr.split('\n')) {
    const number = /^Command failed -:(\d+)/.exec(line)?.[1]
    if (number === undefined) {
      words.push(line.replace('RTNETLINK answers: ', '').trim())
      continue
    }
    faults.set(Number(number) - 1, words.join(' ').trim() || 'no reason given')
    words = []
  }
  return faults
}

/** Loopback addresses can be bound as they are. */
function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1'
}

/** The lines of a batch are built from addresses, so nothing else may get into them. */
function assertCanonical(address: string): void {
  if (canonicalAddress(address) === address) return
  throw new MeshError('LISTEN', `proxy.anyip: ${JSON.stringify(address)} is not an address`)
}

const insteadOfRoutes =
  'or set proxy.anyip to false and proxy.vips to a range like { cidr: 127.96.0.0/16 }, which needs no routes'

function cannotAdd(failed: readonly [address: string, fault: string][]): MeshError {
  const [[address, fault]] = failed as [[string, string]]
  const others = failed.length > 1 ? ` and ${failed.length - 1} more` : ''
  const remedy = fault.includes('not permitted')
    ? 'run as root with the capability NET_ADMIN (in a pod: capabilities.add) or with AmbientCapabilities=CAP_NET_ADMIN'
    : 'free the address'
  return new MeshError(
    'LISTEN',
    `proxy.anyip: no route to lo for ${address}${others}: ${fault}; ${remedy}, ${insteadOfRoutes}`,
  )
}

function cannotRun(command: string, why: string, cause?: unknown): MeshError {
  const remedy = `install iproute2 (the ip of busybox is not enough), ${insteadOfRoutes}`
  return new MeshError('LISTEN', `proxy.anyip: "${command}" failed: ${why}; ${remedy}`, { cause })
}
