/**
 * A client address always leads to the same backend, and when a backend goes, hardly any client moves but its own. Maglev
 * hashing (Eisenbud and others, NSDI 2016, section 3.4): each backend has its own order of the slots of a table and they take
 * turns, by weight, to claim the next free one.
 *
 * A table of a hundred backends takes some milliseconds to make, so one is made per list and not per flow. Lists of the same
 * content share one, wherever they come from. A flow on its second attempt has a list of its own, which is ranked instead.
 */
import { LRUCache } from 'lru-cache'
import type { Backend, Backends } from '../model/backend.ts'
import type { Balancer } from '../model/flow.ts'
import { hashOf } from '../model/text/hash.ts'
import { at, eligible, Plans } from './plans.ts'

/**
 * Primes. Shares are even to a percent from 100 slots per backend on; 600 are needed for the removal of one of N backends to
 * move less than 2/N of the clients. The largest gives that up to 200 backends; of a thousand, one moves 6/N.
 */
const sizes = [4093, 16_381, 65_537, 131_071]
const slotsPerBackend = 600
const sharedTables = 32

export function maglev(): Balancer {
  const byContent = new LRUCache<string, Uint32Array>({ max: sharedTables })
  const plans = new Plans<Table>(backends => {
    const members = [...eligible(backends)].sort((a, b) => (a.key < b.key ? -1 : 1))
    const content = members.map(({ key, weight }) => `${key} ${weight}`).join('\n')
    const slots = byContent.get(content) ?? claim(members)
    byContent.set(content, slots)
    return { members, slots }
  })
  return {
    pick: ({ client, tried }, backends) => {
      if (tried.length > 0) return ranked(client.address, eligible(backends))
      const { members, slots } = plans.of(backends)
      return at(members, slots[hashOf(client.address) % slots.length] as number)
    },
  }
}

interface Table {
  /** By key, so that the order in which they came does not matter. */
  readonly members: Backends
  /** For each slot the index of its member. */
  readonly slots: Uint32Array
}

const free = 0xffff_ffff

function claim(members: Backends): Uint32Array {
  const size = sizes.find(prime => prime >= members.length * slotsPerBackend) ?? (sizes.at(-1) as number)
  const slots = new Uint32Array(size).fill(free)
  const spots = Uint32Array.from(members, ({ key }) => hashOf(key, 1) % size)
  const steps = Uint32Array.from(members, ({ key }) => 1 + (hashOf(key, 2) % (size - 1)))
  const heaviest = members.reduce((most, { weight }) => Math.max(most, weight), 0)
  const turns = Float64Array.from(members, ({ weight }) => (heaviest > 0 ? weight / heaviest : 1))
  const owed = new Float64Array(members.length)

  for (let taken = 0; taken < size; ) {
    for (let i = 0; i < members.length && taken < size; i++) {
      owed[i] = (owed[i] as number) + (turns[i] as number)
      if ((owed[i] as number) < 1) continue
      owed[i] = (owed[i] as number) - 1
      let spot = spots[i] as number
      while (slots[spot] !== free) {
        spot += steps[i] as number
        if (spot >= size) spot -= size
      }
      slots[spot] = i
      spots[i] = spot
      taken++
    }
  }
  return slots
}

/** The backend that ranks highest for the client by a hash of both, higher the heavier it is (rendezvous hashing). */
function ranked(client: string, backends: Backends): Backend {
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
