/**
 * Maglev hashing (Eisenbud and others, NSDI 2016, section 3.4): a client address always maps to the same backend, and when
 * a backend is removed, few clients move but its own. Each backend has its own permutation of the table's slots; they take
 * turns, by weight, to fill the next free one.
 *
 * A table for a hundred backends takes milliseconds to build, so it is built per list of backends, not per flow. Lists with
 * the same content share a table. A retry has a list of its own and uses rendezvous hashing instead.
 */
import { LRUCache } from 'lru-cache'
import type { Backend, Backends } from '../model/backend.ts'
import type { Balancer } from '../model/flow.ts'
import { hashOf } from '../model/text/hash.ts'
import { at, eligible, PerListCache } from './backend-list.ts'

/**
 * Table sizes, all prime. 100 slots per backend make shares even to 1 %; 600 keep the clients moved by the removal of one of
 * N backends below 2/N. The largest does so up to 200 backends; with a thousand, 6/N move.
 */
const sizes = [4093, 16_381, 65_537, 131_071]
const slotsPerBackend = 600
const sharedTables = 32

export function maglev(): Balancer {
  const byContent = new LRUCache<string, Uint32Array>({ max: sharedTables })
  const tables = new PerListCache<Table>(backends => {
    const members = [...eligible(backends)].sort((a, b) => (a.key < b.key ? -1 : 1))
    const content = members.map(({ key, weight }) => `${key} ${weight}`).join('\n')
    const slots = byContent.get(content) ?? fillTable(members)
    byContent.set(content, slots)
    return { members, slots }
  })
  return {
    pick: ({ client, tried }, backends) => {
      if (tried.length > 0) return rendezvous(client.address, eligible(backends))
      const { members, slots } = tables.of(backends)
      return at(members, slots[hashOf(client.address) % slots.length] as number)
    },
  }
}

interface Table {
  /** Sorted by key, so that the order of the list does not matter. */
  readonly members: Backends
  /** For each slot, the index of its member. */
  readonly slots: Uint32Array
}

const free = 0xffff_ffff

function fillTable(members: Backends): Uint32Array {
  const size = sizes.find(prime => prime >= members.length * slotsPerBackend) ?? (sizes.at(-1) as number)
  const slots = new Uint32Array(size).fill(free)
  const offsets = Uint32Array.from(members, ({ key }) => hashOf(key, 1) % size)
  const skips = Uint32Array.from(members, ({ key }) => 1 + (hashOf(key, 2) % (size - 1)))
  const heaviest = members.reduce((most, { weight }) => Math.max(most, weight), 0)
  const shares = Float64Array.from(members, ({ weight }) => (heaviest > 0 ? weight / heaviest : 1))
  const credits = new Float64Array(members.length)

  for (let taken = 0; taken < size; ) {
    for (let i = 0; i < members.length && taken < size; i++) {
      credits[i] = (credits[i] as number) + (shares[i] as number)
      if ((credits[i] as number) < 1) continue
      credits[i] = (credits[i] as number) - 1
      let slot = offsets[i] as number
      while (slots[slot] !== free) {
        slot += skips[i] as number
        if (slot >= size) slot -= size
      }
      slots[slot] = i
      offsets[i] = slot
      taken++
    }
  }
  return slots
}

/** Weighted rendezvous hashing: the backend with the highest hash of client and backend. */
function rendezvous(client: string, backends: Backends): Backend {
  let best = at(backends, 0)
  let highest = Number.NEGATIVE_INFINITY
  for (const backend of backends) {
    const rank = Math.log((hashOf(backend.key + client) + 1) / 2 ** 32) / (backend.weight || 1)
    if (rank > highest) {
      highest = rank
      best = backend
    }
  }
  return best
}
