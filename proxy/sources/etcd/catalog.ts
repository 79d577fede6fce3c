import { hash } from 'node:crypto'
import { messageOf, type Problem } from '../../model/error.ts'
import { type ClusterService, type ServiceKey, serviceKey } from '../../model/service.ts'
import { tame } from '../../model/spelling.ts'
import type { Sink } from '../source.ts'
import { decodeService } from './decode-cilium.ts'
import { decodeSlice, type Slice, serviceOfSlices } from './decode-slices.ts'
import type { Owner } from './records.ts'
import type { Entry } from './rpc.ts'
import type { WatchEvent } from './watches.ts'

/** How one kind of record becomes services: one record is a part of one service, and a service is made of its parts. */
export interface Reading<Part> {
  /** `suffix` is the key behind the prefix. Throws for what is not sound; undefined for what is as good as absent. */
  decode(suffix: string, value: Uint8Array): { readonly service: ServiceKey; readonly part: Part } | undefined
  assemble(parts: readonly [Part, ...Part[]]): ClusterService
}

export function readServices(owner: Owner): Reading<ClusterService> {
  return {
    decode: (suffix, value) => {
      const part = decodeService(suffix, value, owner)
      return part && { service: serviceKey(part.namespace, part.name), part }
    },
    assemble: ([service]) => service,
  }
}

export function readSlices(owner: Owner): Reading<Slice> {
  return {
    decode: (suffix, value) => {
      const part = decodeSlice(suffix, value, owner)
      return { service: serviceKey(part.namespace, part.service), part }
    },
    assemble: slices => serviceOfSlices(slices, owner),
  }
}

interface Kept<Part> {
  /** Of the value, so that what is written again as it was is no news. */
  readonly digest: string
  /** What it said when it last was sound; undefined if it never was, or if it says nothing. */
  readonly said: { readonly service: ServiceKey; readonly part: Part } | undefined
}

/** Problems that are told one by one; the rest is a number. */
const maxProblems = 1000

/** What one cluster last said, key by key. It outlives connections: a key whose value is spoiled keeps its last sound meaning. */
export class Catalog<Part> {
  #prefix: string
  #reading: Reading<Part>
  #sink: Sink
  #kept = new Map<string, Kept<Part>>()
  #parts = new Map<ServiceKey, Map<string, Part>>()
  #touched = new Set<ServiceKey>()
  #delivered = new Set<ServiceKey>()
  #faults = new Map<string, string>()
  #faultsChanged = false

  constructor(prefix: string, reading: Reading<Part>, sink: Sink) {
    this.#prefix = prefix
    this.#reading = reading
    this.#sink = sink
  }

  get size(): number {
    return this.#parts.size
  }

  /** Part of a listing: decoded now, told with the rest. */
  arrived(entries: readonly Entry[]): void {
    for (const { key, value } of entries) this.#put(key, value)
  }

  /** Mark and sweep: what is not in the list is gone. */
  listed(entries: readonly Entry[]): void {
    const gone = new Set(this.#kept.keys())
    for (const { key, value } of entries) {
      gone.delete(key)
      this.#put(key, value)
    }
    for (const key of gone) this.#drop(key)
    this.#touched.clear()
    this.#delivered = new Set(this.#parts.keys())
    const services = [...this.#delivered].flatMap(service => this.#assembled(service) ?? [])
    this.#sink.reset({ services, namespaces: [] })
    this.#tellProblems()
  }

  changed(events: readonly WatchEvent[]): void {
    for (const { kept, entry } of events) {
      if (kept) this.#put(entry.key, entry.value)
      else this.#drop(entry.key)
    }
    for (const service of this.#touched) this.#deliver(service)
    this.#touched.clear()
    this.#tellProblems()
  }

  #put(key: string, value: Uint8Array): void {
    const before = this.#kept.get(key)
    const digest = hash('sha256', value, 'base64')
    if (before?.digest === digest) return
    try {
      const said = this.#reading.decode(key.slice(this.#prefix.length), value)
      this.#forget(key, before)
      this.#kept.set(key, { digest, said })
      if (said) this.#remember(key, said.service, said.part)
      this.#faultsChanged = this.#faults.delete(key) || this.#faultsChanged
    } catch (error) {
      this.#kept.set(key, { digest, said: before?.said })
      this.#faults.set(key, messageOf(error))
      this.#faultsChanged = true
    }
  }

  #drop(key: string): void {
    this.#forget(key, this.#kept.get(key))
    this.#kept.delete(key)
    this.#faultsChanged = this.#faults.delete(key) || this.#faultsChanged
  }

  #remember(key: string, service: ServiceKey, part: Part): void {
    const siblings = this.#parts.get(service)
    if (siblings) siblings.set(key, part)
    else this.#parts.set(service, new Map([[key, part]]))
    this.#touched.add(service)
  }

  #forget(key: string, kept: Kept<Part> | undefined): void {
    if (!kept?.said) return
    const { service } = kept.said
    const siblings = this.#parts.get(service)
    siblings?.delete(key)
    if (siblings?.size === 0) this.#parts.delete(service)
    this.#touched.add(service)
  }

  #deliver(key: ServiceKey): void {
    const service = this.#assembled(key)
    if (service) {
      this.#delivered.add(key)
      this.#sink.put(service)
    } else if (this.#delivered.delete(key)) {
      const [namespace = '', name = ''] = key.split('/')
      this.#sink.drop(namespace, name)
    }
  }

  #assembled(key: ServiceKey): ClusterService | undefined {
    const [first, ...more] = this.#parts.get(key)?.values() ?? []
    return first === undefined ? undefined : this.#reading.assemble([first, ...more])
  }

  #tellProblems(): void {
    if (!this.#faultsChanged) return
    this.#faultsChanged = false
    const told = [...this.#faults].slice(0, maxProblems).map(([key, why]) => problem(key, why))
    const untold = this.#faults.size - told.length
    this.#sink.problems(untold > 0 ? [...told, problem(this.#prefix, `${untold} more keys are not sound`)] : told)
  }
}

function problem(key: string, why: string): Problem {
  const message = `${why}; what the key said before stays`
  return { code: 'SOURCE_OBJECT', where: tame(key), message: `${tame(key.split('/').slice(-2).join('/'))}: ${message}` }
}
