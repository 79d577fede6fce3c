/** The lists of backends in the kernel's maps, from which it draws by weight. A list is replaced as a whole: no flow meets half of one. */
import { aliasTable } from '../../model/alias-table.ts'
import type { Backends } from '../../model/backend.ts'
import type { Attachment } from './attachment.ts'
import { memberKey, type Place, placeKey, placeRecord, readFrontend, slotKey, slotRecord } from './records.ts'

/** What a frontend's record says of its list. */
export interface Listed {
  readonly id: number
  readonly list: number
  readonly count: number
}

interface Written extends Listed {
  readonly text: string
  /** Of a UDP frontend, by their keys: an unconnected socket keeps a backend that is one of them. */
  readonly members: ReadonlyMap<string, Place>
}

export const unlisted: Listed = { id: 0, list: 0, count: 0 }
const present = Buffer.alloc(4)

export class BackendLists {
  readonly #attachment: Attachment
  readonly #written = new Map<string, Written>()
  #last: number

  /** Numbers that a process before this one has given are not given again while its entries are there. */
  constructor(attachment: Attachment) {
    this.#attachment = attachment
    const records = attachment.keys('frontends').flatMap(key => attachment.get('frontends', key) ?? [])
    this.#last = records.map(readFrontend).reduce((most, { id, list }) => Math.max(most, id, list), 0)
  }

  /**
   * Writes the list of a frontend, and calls `publish` with it, after which nothing leads to the one before. Without backends it has
   * none. Returns the error of the kernel where it has no room; then nothing is changed but that the frontend has no list.
   */
  set(key: string, backends: Backends | undefined, publish: (listed: Listed) => void): string | undefined {
    const before = this.#written.get(key)
    const text = backends?.map(({ key, weight }) => `${key} ${weight}`).join('\n') ?? ''
    if (before && text === before.text) {
      publish(before)
      return undefined
    }
    const written = backends ? this.#write(text, backends, before) : undefined
    if (typeof written === 'object') this.#written.set(key, written)
    else this.#written.delete(key)
    publish(typeof written === 'object' ? written : unlisted)
    if (before) this.#remove(before, typeof written === 'object' ? written.members : new Map())
    return typeof written === 'string' ? written : undefined
  }

  /** The frontend has gone. */
  forget(key: string): void {
    const before = this.#written.get(key)
    if (!before) return
    this.#written.delete(key)
    this.#remove(before, new Map())
  }

  /** Removes the lists of a process before this one. */
  removeLeftovers(): void {
    const lists = new Set([...this.#written.values()].map(({ list }) => list))
    const ids = new Set([...this.#written.values()].map(({ id }) => id))
    for (const key of this.#attachment.keys('slots')) {
      if (!lists.has(key.readUInt32LE(0))) this.#attachment.drop('slots', key)
    }
    for (const key of this.#attachment.keys('members')) {
      if (!ids.has(key.readUInt32LE(0))) this.#attachment.drop('members', key)
    }
  }

  get size(): number {
    return this.#written.size
  }

  #write(text: string, backends: Backends, before: Written | undefined): Written | string {
    const places = backends.map(({ address, port, protocol }): Place => ({ address, port, protocol }))
    const { own, alias } = aliasTable(backends.map(({ weight }) => Math.max(weight, Number.MIN_VALUE)))
    const list = ++this.#last
    const id = before?.id ?? ++this.#last
    const datagrams = places[0]?.protocol === 'UDP'
    const members = new Map(datagrams ? places.map(place => [placeKey(place), place] as const) : [])
    const written = { id, list, count: places.length, text, members }
    const records = places.map(placeRecord)
    for (const [i, first] of records.entries()) {
      const second = records[alias[i] as number] ?? first
      const record = slotRecord({ first, second, own: own[i] as number })
      const fault = this.#attachment.put('slots', slotKey(list, i), record)
      if (fault !== undefined) return this.#undo(written, before, fault)
    }
    for (const place of members.values()) {
      const fault = this.#attachment.put('members', memberKey(id, place), present)
      if (fault !== undefined) return this.#undo(written, before, fault)
    }
    return written
  }

  #undo(written: Written, before: Written | undefined, fault: string): string {
    this.#remove(written, before?.members ?? new Map())
    return fault
  }

  /** Removes a list, and its members but those to keep. */
  #remove({ id, list, count, members }: Written, keep: ReadonlyMap<string, Place>): void {
    for (let i = 0; i < count; i++) this.#attachment.drop('slots', slotKey(list, i))
    for (const [key, place] of members) if (!keep.has(key)) this.#attachment.drop('members', memberKey(id, place))
  }
}
