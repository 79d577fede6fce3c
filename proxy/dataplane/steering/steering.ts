/**
 * The kernel leads clients of a cgroup to the frontends' listeners, which share one address of each family: `proxy.offload: ebpf`. A
 * program that connects to a ClusterIP needs no route, no address and no packet rule for it. Clients of frontends that have a list go
 * straight to one of its backends.
 */
import { closeSync } from 'node:fs'
import type { Server } from 'node:net'
import { type Family, familyOf, isLoopback, type Protocol, type SocketAddress } from '../../model/address.ts'
import type { Backends } from '../../model/backend.ts'
import { MeshError, messageOf, type Problem } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import { type Frontend, frontendKey } from '../../model/service.ts'
import type { KernelCalls } from '../../model/sockets/kernel.ts'
import type { Clock } from '../../model/time/clock.ts'
import { takeLock } from '../netns-lock.ts'
import { Attachment, removePins } from './attachment.ts'
import { findCgroup, leftFolders, pinFolder, scopeOf } from './cgroup.ts'
import { DepartedSockets } from './departed-sockets.ts'
import { BackendLists } from './lists.ts'
import { PortBook } from './ports.ts'
import { requireSteering } from './preflight.ts'
import {
  frontendRecord,
  type Place,
  placeKey,
  placeRecord,
  readFrontend,
  readPlace,
  selfOf,
  settingsRecord,
} from './records.ts'

export interface SteeringOptions {
  /** One of each family, canonical. */
  readonly listen: readonly string[]
  /** A folder of cgroup v2; undefined: its root. */
  readonly cgroup: string | undefined
  /** A folder of bpffs; undefined: nothing outlives the process. */
  readonly pin: string | undefined
  /** Lead clients of frontends with a list straight to its backends. */
  readonly direct: boolean
}

export interface SteeringParts {
  readonly options: SteeringOptions
  /** Undefined where the addon does not load. */
  readonly kernel: KernelCalls | undefined
  /** How long connections may stay on a backend that has left. */
  readonly drainMs: () => number
  /** A listener has come to this address, or gone. */
  readonly onListener: (address: string) => void
  readonly clock: Clock
  readonly log: Log
}

interface Entry {
  readonly frontend: Place
  listener: Place
}

/** A port that nothing is sent to: the socket that makes this process known is only connected. */
const discard: Place = { address: '127.0.0.1', port: 9, protocol: 'UDP' }
const none = Buffer.alloc(8)
/** The folder changes with the layout of the maps, which a process of another version could not use. */
const nameIn = (scope: string, direct: boolean) => `${scope}-v1${direct ? '-direct' : ''}`
const lockName = (cgroup: string) => `starlane-offload-${cgroup}`

export class Steering {
  readonly #parts: SteeringParts
  readonly #books = new Map<string, PortBook>()
  /** By the key of the frontend. */
  readonly #entries = new Map<string, Entry>()
  /** Where they are, in the form of a frontend's key. */
  readonly #listeners = new Set<string>()
  /** Backends by the key of the frontend whose clients go straight to them, whether its listener is open or not. */
  readonly #direct = new Map<string, Backends>()
  /** How many lists have each destination. */
  readonly #destinations = new Map<string, number>()
  readonly #departed: DepartedSockets | undefined
  #attachment: Attachment | undefined
  #lists: BackendLists | undefined
  #lock: Server | undefined
  #cgroup = ''
  #folder: string | undefined
  #failure: Problem | undefined
  /** What is weaker than configured, by its place. */
  readonly #weaknesses = new Map<string, Problem>()
  /** A successor has taken over, or is about to. */
  #released = false

  constructor(parts: SteeringParts) {
    this.#parts = parts
    const { kernel, options, drainMs, clock, log } = parts
    this.#departed =
      kernel && options.direct
        ? new DepartedSockets({
            ...{ kernel, drainMs, clock, log },
            reverse: () => (this.#released ? undefined : this.#attachment?.map('reverse')),
            listed: destination => this.#destinations.has(destination),
            pods: !options.listen.some(isLoopback),
          })
        : undefined
  }

  /** The programs run, and listeners are to take places here. */
  get active(): boolean {
    return this.#attachment !== undefined
  }

  /** How many frontends are steered. */
  get size(): number {
    return this.#entries.size
  }

  /** How many of them are led straight to backends. */
  get direct(): number {
    return this.#lists?.size ?? 0
  }

  /** Where the programs are, in words. */
  get where(): string {
    return this.#folder === undefined ? `${this.#cgroup}, not pinned` : this.#cgroup
  }

  problems(): Problem[] {
    const departed = this.#departed?.problems() ?? []
    return [...(this.#failure ? [this.#failure] : []), ...this.#weaknesses.values(), ...departed]
  }

  /**
   * Attaches the programs, or takes those over that a process before this one has left. Without rights or support Starlane goes on as
   * if nothing were configured.
   */
  async start(): Promise<void> {
    if (this.#attachment) return
    const { log, options } = this.#parts
    try {
      this.#attachment = await this.#attach()
      this.#lists = new BackendLists(this.#attachment)
      log.info('offload.attached', {
        cgroup: this.#cgroup,
        pinned: this.#folder ?? '',
        adopted: this.#attachment.adopted,
      })
    } catch (error) {
      this.#lock?.close()
      this.#lock = undefined
      const message = `proxy.offload: ${messageOf(error)}`
      this.#failure = { code: 'OFFLOAD', where: 'proxy.offload', message, severity: 'error' }
      log.error('offload.failed', { why: messageOf(error), listen: options.listen.join(' ') })
    }
  }

  /** Frontends that have not been opened by now are those of a process before this one. */
  removeLeftovers(): void {
    const attachment = this.#attachment
    if (!attachment || this.#released) return
    const { pin } = this.#parts.options
    if (pin !== undefined) for (const left of leftFolders(pin, scopeOf(this.#cgroup), this.#folder)) removePins(left)
    for (const book of this.#books.values()) book.forgetBefore()
    this.#lists?.removeLeftovers()
    for (const key of attachment.keys('frontends')) {
      if (!this.#entries.has(placeKey(readPlace(key)))) attachment.drop('frontends', key)
    }
    for (const key of attachment.keys('listeners')) {
      if (!this.#listeners.has(placeKey(readPlace(key)))) attachment.drop('listeners', key)
    }
  }

  placeOf({ key, ip, protocol, service }: Frontend, refused?: number): SocketAddress {
    const family = familyOf(ip)
    const address = this.#addressOf(family)
    if (address === undefined) {
      const remedy = `add one to proxy.ebpf.listen`
      throw new MeshError(
        'LISTEN',
        `cannot listen for ${key} of service ${service}: no IPv${family} address; ${remedy}`,
      )
    }
    const port = this.#book(family, protocol).take(key, refused)
    if (port !== undefined) return { address, port }
    throw new MeshError(
      'LISTEN',
      `cannot listen for ${key} of service ${service}: no port of ${address} is left for it`,
    )
  }

  fits({ ip }: Frontend, { address }: SocketAddress): boolean {
    return address === this.#addressOf(familyOf(ip))
  }

  opened({ key, ip: address, port, protocol }: Frontend, bound: SocketAddress): void {
    if (!this.#attachment) return
    this.#book(familyOf(address), protocol).set(key, bound.port)
    const before = this.#entries.get(key)
    const entry: Entry = { frontend: { address, port, protocol }, listener: { ...bound, protocol } }
    this.#entries.set(key, entry)
    this.#listeners.add(placeKey(entry.listener))
    this.#parts.onListener(entry.listener.address)
    if (before && placeKey(before.listener) !== placeKey(entry.listener)) this.#forgetListener(before)
    this.#write(entry)
  }

  /** Clients of this frontend go straight to these backends from now on; to its listener where there are none. */
  route(key: string, backends: Backends | undefined): void {
    const before = this.#direct.get(key)
    if (before === backends) return
    if (backends) this.#direct.set(key, backends)
    else this.#direct.delete(key)
    for (const { destination } of backends ?? []) this.#count(destination, 1)
    for (const { destination } of before ?? []) this.#count(destination, -1)
    const entry = this.#entries.get(key)
    if (entry) this.#write(entry)
  }

  /** These backends have left. Takes their keys. */
  retire(backends: readonly string[]): void {
    this.#departed?.retire(backends)
  }

  /** Nothing is heard of these destinations any more. */
  lose(destinations: readonly string[]): void {
    this.#departed?.lose(destinations)
  }

  /** Whether a listener is there: a flow to it would come back. */
  isListener(address: string, port: number, protocol: Protocol): boolean {
    return this.#parts.options.listen.includes(address) && this.#listeners.has(frontendKey(address, port, protocol))
  }

  gone({ key, ip, protocol }: Frontend): void {
    this.#book(familyOf(ip), protocol).release(key)
    const entry = this.#entries.get(key)
    if (!entry) return
    this.#entries.delete(key)
    if (!this.#released) {
      this.#attachment?.drop('frontends', placeRecord(entry.frontend))
      this.#lists?.forget(key)
    }
    this.#forgetListener(entry)
    this.#weaknesses.delete(key)
  }

  /** A successor takes over: nothing is written any more. */
  async release(): Promise<void> {
    this.#released = true
    await new Promise<void>(resolve => (this.#lock ? this.#lock.close(() => resolve()) : resolve()))
    this.#lock = undefined
  }

  /** The successor has failed: its programs and entries are replaced. */
  async reclaim(): Promise<void> {
    const attachment = this.#attachment
    const { kernel } = this.#parts
    this.#released = false
    if (!attachment || !kernel) return
    this.#lock = await takeLock(lockName(this.#cgroup))
    attachment.reclaim()
    this.#introduce(attachment, kernel)
    for (const entry of this.#entries.values()) this.#write(entry)
  }

  /** The successor serves: what it has not taken over ends with this. */
  abandon(): void {
    this.#departed?.close()
    this.#lists = undefined
    this.#attachment?.release()
    this.#attachment = undefined
    this.#entries.clear()
  }

  /** Detaches the programs: nobody is steered any more. Flows must have ended, since their programs would see other addresses. */
  close(): void {
    this.#departed?.close()
    this.#lists = undefined
    if (this.#released) this.#attachment?.release()
    else this.#attachment?.remove()
    this.#attachment = undefined
    this.#lock?.close()
  }

  async #attach(): Promise<Attachment> {
    const { kernel, options } = this.#parts
    const calls = requireSteering(kernel ? { addon: { kernel } } : { why: 'it was not built or does not load' })
    this.#cgroup = findCgroup(options.cgroup)
    this.#lock = await takeLock(lockName(this.#cgroup))
    if (!this.#lock)
      throw new Error('another Starlane of this network namespace steers this cgroup; set it to none in one')
    this.#folder = this.#pinned(nameIn(scopeOf(this.#cgroup), options.direct))
    const parts = { kernel: calls, cgroup: this.#cgroup, folder: this.#folder, direct: options.direct }
    const attachment = new Attachment(parts)
    try {
      if (attachment.adopted) this.#remember(attachment)
      attachment.attach()
      this.#introduce(attachment, calls)
    } catch (error) {
      if (attachment.adopted) attachment.release()
      else attachment.remove()
      throw error
    }
    return attachment
  }

  /** Without a place to pin, links end with the process: weaker, and no reason to do nothing. */
  #pinned(name: string): string | undefined {
    const { pin } = this.#parts.options
    if (pin === undefined) return undefined
    try {
      return pinFolder(pin, name)
    } catch (error) {
      const message = `${messageOf(error)}. After a crash clients are not steered until Starlane runs again`
      this.#weaknesses.set('pin', { code: 'OFFLOAD', where: 'proxy.ebpf.pin', message })
      return undefined
    }
  }

  /** The ports of the process before this one, which its clients' UDP sockets are connected to. */
  #remember(attachment: Attachment): void {
    for (const key of attachment.keys('frontends')) {
      const value = attachment.get('frontends', key)
      if (!value) continue
      const frontend = readPlace(key)
      const { listener } = readFrontend(value)
      const isOurs = listener.address === this.#addressOf(familyOf(frontend.address))
      if (isOurs) this.#book(familyOf(frontend.address), frontend.protocol).prefer(placeKey(frontend), listener.port)
    }
  }

  /**
   * Tells the programs whom to lead: where listeners are on loopback, only sockets of this network namespace. And never Starlane
   * itself, whose connections are to reach an API server before there are listeners.
   */
  #introduce(attachment: Attachment, kernel: KernelCalls): void {
    const { options } = this.#parts
    const netns = Buffer.alloc(8)
    if (options.listen.some(isLoopback)) {
      const failed = kernel.netns(netns) < 0
      if (failed)
        throw new Error(
          'listeners on loopback need Linux 5.14 or newer; set proxy.ebpf.listen to addresses of this machine',
        )
    }
    const zero = Buffer.alloc(4)
    const cookie = Buffer.alloc(8)
    const probe = kernel.probe(cookie)
    attachment.put('settings', zero, settingsRecord(netns, cookie, 0))
    attachment.put('frontends', placeRecord(discard), frontendRecord({ listener: discard, id: 0, list: 0, count: 0 }))
    kernel.connect(probe, discard.address, discard.port)
    attachment.drop('frontends', placeRecord(discard))
    const self = selfOf(attachment.get('settings', zero) ?? settingsRecord(netns, none, 0))
    attachment.put('settings', zero, settingsRecord(netns, none, self))
    closeSync(probe)
  }

  #write({ frontend, listener }: Entry): void {
    const attachment = this.#attachment
    if (!attachment || this.#released) return
    const key = placeKey(frontend)
    attachment.put('listeners', placeRecord(listener), placeRecord(frontend))
    let full: string | undefined
    const unwritten = this.#lists?.set(key, this.#direct.get(key), listed => {
      full = attachment.put('frontends', placeRecord(frontend), frontendRecord({ listener, ...listed }))
    })
    if (full === undefined && unwritten === undefined) return void this.#weaknesses.delete(key)
    const message = full
      ? `the kernel does not take the frontend: ${full}; it has room for 65536`
      : `the kernel does not take its backends: ${unwritten}; its clients are led to Starlane`
    this.#weaknesses.set(key, { code: 'OFFLOAD', where: key, message, severity: full ? 'error' : 'warning' })
  }

  #count(destination: string, by: number): void {
    const count = (this.#destinations.get(destination) ?? 0) + by
    if (count > 0) this.#destinations.set(destination, count)
    else this.#destinations.delete(destination)
  }

  #forgetListener({ listener }: Entry): void {
    this.#listeners.delete(placeKey(listener))
    this.#parts.onListener(listener.address)
    if (!this.#released) this.#attachment?.drop('listeners', placeRecord(listener))
  }

  #addressOf(family: Family): string | undefined {
    return this.#parts.options.listen.find(address => familyOf(address) === family)
  }

  #book(family: Family, protocol: string): PortBook {
    const key = `${family}${protocol}`
    const known = this.#books.get(key)
    if (known) return known
    const book = new PortBook()
    this.#books.set(key, book)
    return book
  }
}
