/**
 * Encoded answers of our own zones, by question. An entry has no TTL: it is dropped when the directory announces a change of
 * something the answer depends on. When a service changes in a way that affects none of its records, its answers are kept
 * and depend on the new version of the service from then on.
 */
import type { Change, Directory } from '../model/directory.ts'
import type { Client } from '../model/flow.ts'
import type { GlobalService } from '../model/service.ts'
import type { ZoneCounters } from './counters.ts'
import type { Query } from './message/query.ts'
import { type CacheEntry, QuestionCache, questionHash } from './message/question-cache.ts'
import type { Reply } from './message/reply.ts'
import { sameEndpointRecords, sameRecords } from './zones/affects-dns.ts'
import {
  type Dependencies,
  endpointsOf,
  everything,
  type Recheck,
  recheckOf,
  replaceService,
  stillHolds,
  type Visibility,
} from './zones/dependencies.ts'

export interface CachedAnswer extends CacheEntry {
  /** Undefined: the name is in none of our zones. */
  readonly reply: Reply | undefined
  readonly zone: ZoneCounters
  readonly subjects: readonly string[]
  /** The one service to admit the client to; undefined for none, or when `recheck` has more. */
  service: GlobalService | undefined
  /** What else to compare for each client; undefined for most answers. */
  recheck: Recheck | undefined
}

/** A few answers per service of a large mesh, and room for names made up by attackers. */
const maxEntries = 20_000
const maxBytes = 32 << 20
/** Memory of an entry besides its message, estimated: its objects, and each subject with its set of entries. */
const overheadBytes = 500
const subjectBytes = 150

export class AnswerCache {
  readonly #entries: QuestionCache<CachedAnswer>
  /** The hashes of the entries that depend on a subject. */
  readonly #bySubject = new Map<string, Set<number>>()
  readonly #directory: Directory
  readonly #visibility: Visibility
  readonly #stop: () => void

  constructor(directory: Directory, visibility: Visibility) {
    this.#directory = directory
    this.#visibility = visibility
    this.#entries = new QuestionCache({
      entries: maxEntries,
      bytes: maxBytes,
      sizeOf: ({ message, subjects }) => message.length + overheadBytes + subjects.length * subjectBytes,
      removed: (cached, hash) => this.#unlink(cached, hash),
    })
    this.#stop = directory.onChange(change => this.#update(change))
  }

  get size(): number {
    return this.#entries.size
  }

  close(): void {
    this.#stop()
  }

  find(query: Query, client: Client): CachedAnswer | undefined {
    const cached = this.#entries.get(query, questionHash(query))
    if (!cached) return undefined
    if (cached.service && this.#visibility.admit(client, cached.service)) return undefined
    const holds = !cached.recheck || stillHolds(cached.recheck, client, this.#directory, this.#visibility)
    return holds ? cached : undefined
  }

  /** Stores an answer, unless it is for one client alone or was made before the first sync. */
  put(query: Query, reply: Reply | undefined, zone: ZoneCounters, dependencies: Dependencies): void {
    if (dependencies.hidden.size > 0 || !this.#directory.synced) return
    const hash = questionHash(query)
    const message = reply?.bytes ?? Buffer.from(query.bytes.subarray(0, query.end))
    const { admitted, shown, preferred, namespaces, pods } = dependencies
    const isSimple = admitted.size <= 1 && shown.size + preferred.size + namespaces.size + pods.size === 0
    const [service] = isSimple ? admitted : []
    const recheck = isSimple ? undefined : recheckOf(dependencies)
    const subjects = [...dependencies.subjects]
    this.#entries.set(hash, { message, reply, zone, subjects, service, recheck })
    for (const subject of subjects) {
      const hashes = this.#bySubject.get(subject)
      if (hashes) hashes.add(hash)
      else this.#bySubject.set(subject, new Set([hash]))
    }
  }

  /** Drops the answers that depend on a subject. */
  drop(subject: string): void {
    for (const hash of this.#bySubject.get(subject) ?? []) this.#entries.delete(hash)
  }

  #update(change: Change): void {
    this.drop(everything)
    for (const { key, before, after } of change) {
      if (before && after && sameRecords(before, after)) this.#replace(before, after)
      else this.drop(key)
      if (!before || !after || !sameEndpointRecords(before, after)) this.drop(endpointsOf(key))
    }
  }

  /** Keeps the answers of a service whose records are the same after a change. */
  #replace(before: GlobalService, after: GlobalService): void {
    for (const hash of this.#bySubject.get(after.key) ?? []) {
      const cached = this.#entries.peek(hash)
      if (!cached) continue
      if (cached.service === before) cached.service = after
      if (cached.recheck) cached.recheck = replaceService(cached.recheck, before, after)
    }
  }

  #unlink(cached: CachedAnswer, hash: number): void {
    for (const subject of cached.subjects) {
      const hashes = this.#bySubject.get(subject)
      hashes?.delete(hash)
      if (hashes?.size === 0) this.#bySubject.delete(subject)
    }
  }
}
