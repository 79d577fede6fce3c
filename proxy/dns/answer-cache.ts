/**
 * The memory of the fast way: encoded replies of our own zones by question. An entry holds as long as what its answer was
 * made from, so it has no age: it goes when one of its subjects reads otherwise, for exactly the names concerned. When a
 * service changes in what no name tells, its answers stay and rest on the new one from then on.
 */
import type { Directory } from '../model/directory.ts'
import type { Client } from '../model/flow.ts'
import type { GlobalService } from '../model/service.ts'
import type { Query } from './message/query.ts'
import { Shelf, type Shelved, slotOf } from './message/question-cache.ts'
import type { Reply } from './message/reply.ts'
import type { ZoneCounters } from './stats.ts'
import { type Eyes, type Grounds, groundsOf, holds, renewed, type Seen } from './zones/view.ts'

export interface Known extends Shelved {
  /** Undefined: the name was found to be for others to answer. */
  readonly reply: Reply | undefined
  readonly zone: ZoneCounters
  readonly subjects: readonly string[]
  /** The only service that the answer rests on; undefined when there is none or more. */
  service: GlobalService | undefined
  /** What else must be seen the same; undefined, as for most answers, when there is nothing. */
  grounds: Grounds | undefined
}

/** What an entry costs besides its bytes, roughly: the objects around them, and each subject with its set of slots. */
const overheadBytes = 500
const subjectBytes = 150

export class Replies {
  readonly #shelf: Shelf<Known>
  /** The slots of the entries that rest on a subject. */
  readonly #bySubject = new Map<string, Set<number>>()
  readonly #directory: Directory
  readonly #eyes: Eyes

  constructor(directory: Directory, eyes: Eyes, limit: { readonly entries: number; readonly bytes: number }) {
    this.#directory = directory
    this.#eyes = eyes
    this.#shelf = new Shelf({
      ...limit,
      sizeOf: ({ message, subjects }) => message.length + overheadBytes + subjects.length * subjectBytes,
      gone: (known, slot) => this.#unlink(known, slot),
    })
  }

  get size(): number {
    return this.#shelf.size
  }

  find(query: Query, client: Client): Known | undefined {
    const known = this.#shelf.get(query, slotOf(query))
    if (!known) return undefined
    if (known.service && this.#eyes.admit(client, known.service)) return undefined
    return !known.grounds || holds(known.grounds, client, this.#directory, this.#eyes) ? known : undefined
  }

  keep(query: Query, reply: Reply | undefined, zone: ZoneCounters, seen: Seen): void {
    // What is hidden from one client, and what is not known yet, is no answer for the next.
    if (seen.hidden.size > 0 || !this.#directory.synced) return
    const slot = slotOf(query)
    const message = reply?.bytes ?? Buffer.from(query.bytes.subarray(0, query.end))
    const { shown, preferred, namespaces, pods } = seen
    const isSimple = seen.admitted.size <= 1 && shown.size + preferred.size + namespaces.size + pods.size === 0
    const [service] = isSimple ? seen.admitted : []
    const subjects = [...seen.subjects]
    this.#shelf.set(slot, { message, reply, zone, subjects, service, grounds: isSimple ? undefined : groundsOf(seen) })
    for (const subject of subjects) {
      const slots = this.#bySubject.get(subject)
      if (slots) slots.add(slot)
      else this.#bySubject.set(subject, new Set([slot]))
    }
  }

  /** A service key or an address reads otherwise from now on. */
  forget(subject: string): void {
    for (const slot of this.#bySubject.get(subject) ?? []) this.#shelf.delete(slot)
  }

  /** A service was replaced by one of which all names read the same. */
  renew(before: GlobalService, after: GlobalService): void {
    for (const slot of this.#bySubject.get(after.key) ?? []) {
      const known = this.#shelf.peek(slot)
      if (!known) continue
      if (known.service === before) known.service = after
      if (known.grounds) known.grounds = renewed(known.grounds, before, after)
    }
  }

  #unlink(known: Known, slot: number): void {
    for (const subject of known.subjects) {
      const slots = this.#bySubject.get(subject)
      slots?.delete(slot)
      if (slots?.size === 0) this.#bySubject.delete(subject)
    }
  }
}
