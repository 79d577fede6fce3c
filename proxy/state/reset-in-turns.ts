/**
 * A sink before another one that takes a large reset apart: what has gone and what is new or changed is passed on one by one, in turns, so
 * that DNS and flows are served in between. A large service that is put has a turn of its own. What the source says meanwhile waits.
 */
import type { Sink, Snapshot } from '../model/sink.ts'
import { Turns } from '../model/time/turn.ts'

export type Kind = Exclude<keyof Snapshot, 'isDelivered'>
export type ObjectOf<K extends Kind> = NonNullable<Snapshot[K]>[number]

/** What the next sink has already, by kind and key. */
export interface Known {
  keyOf<K extends Kind>(kind: K, object: ObjectOf<K>): string | number
  table<K extends Kind>(kind: K): ReadonlyMap<string | number, ObjectOf<K>>
}

/** A reset, or a service, with so many objects and endpoints is passed on as it is: some 3 ms. */
const atOnce = 500

/** What forbids a service comes before it. */
const order = ['namespaces', 'nodes', 'gateways', 'identities', 'addresses', 'pods', 'policies', 'services'] as const

/** `isClosed`: nothing is passed on any more. */
export function resetInTurns(next: Sink, known: Known, isClosed: () => boolean): Sink {
  /** What has come since a reset began; undefined when none is in progress. */
  let waiting: (() => void)[] | undefined
  const after = (call: () => void) => {
    if (waiting) waiting.push(call)
    else call()
  }
  const later = <A extends unknown[]>(call: ((...args: A) => void) | undefined) => {
    return (...args: A) => after(() => call?.(...args))
  }

  const inTurns = async (calls: Iterable<() => void>): Promise<void> => {
    const come: (() => void)[] = []
    waiting = come
    const turns = new Turns()
    for (const call of calls) {
      await turns.next()
      if (isClosed()) return
      call()
    }
    waiting = undefined
    // One of these may be the next reset, which the others wait for.
    for (const call of come) after(call)
  }

  function* whole(snapshot: Snapshot): Generator<() => void> {
    yield* steps(snapshot, next, known)
    yield () => next.reset({ ...snapshot, isDelivered: true })
  }

  const reset = (snapshot: Snapshot) => {
    if (sizeOf(snapshot) > atOnce) void inTurns(whole(snapshot))
    else next.reset(snapshot)
  }
  const put = (service: ObjectOf<'services'>) => {
    // What has made it took as long.
    if (service.endpoints.length > atOnce) void inTurns([() => next.put(service)])
    else next.put(service)
  }
  return {
    ...next,
    reset: snapshot => after(() => reset(snapshot)),
    put: later(put),
    drop: later(next.drop),
    putNamespace: later(next.putNamespace),
    dropNamespace: later(next.dropNamespace),
    putPod: later(next.putPod),
    dropPod: later(next.dropPod),
    putNode: later(next.putNode),
    dropNode: later(next.dropNode),
    putPolicy: later(next.putPolicy),
    dropPolicy: later(next.dropPolicy),
    putAddress: later(next.putAddress),
    dropAddress: later(next.dropAddress),
    putIdentity: later(next.putIdentity),
    dropIdentity: later(next.dropIdentity),
    putGateway: later(next.putGateway),
    dropGateway: later(next.dropGateway),
    live: later(next.live),
    lost: later(next.lost),
    problems: later(next.problems),
  }
}

function sizeOf(snapshot: Snapshot): number {
  const objects = order.reduce((sum, kind) => sum + (snapshot[kind]?.length ?? 0), 0)
  return snapshot.services.reduce((sum, { endpoints }) => sum + endpoints.length, objects)
}

/** Each step passes at most one object on. */
function* steps(snapshot: Snapshot, next: Sink, known: Known): Generator<() => void> {
  for (const kind of order) yield* stepsOf(kind, snapshot[kind] ?? [], next, known)
}

function* stepsOf<K extends Kind>(
  kind: K,
  objects: readonly ObjectOf<K>[],
  next: Sink,
  known: Known,
): Generator<() => void> {
  const { put, drop } = passers(next)[kind]
  const table = known.table(kind)
  if (table.size > 0) {
    const gone = new Map(table)
    for (const object of objects) gone.delete(known.keyOf(kind, object))
    for (const object of gone.values()) yield () => drop(object)
  }
  for (const object of objects) {
    if (table.get(known.keyOf(kind, object)) === object) yield nothing
    else yield () => put(object)
  }
}

const nothing = () => {}

type Passers = { readonly [K in Kind]: { put(object: ObjectOf<K>): void; drop(object: ObjectOf<K>): void } }

function passers(next: Sink): Passers {
  return {
    services: { put: next.put, drop: ({ namespace, name }) => next.drop(namespace, name) },
    namespaces: { put: next.putNamespace, drop: ({ name }) => next.dropNamespace(name) },
    pods: { put: next.putPod, drop: ({ namespace, name }) => next.dropPod(namespace, name) },
    nodes: { put: node => next.putNode?.(node), drop: ({ name }) => next.dropNode?.(name) },
    policies: { put: policy => next.putPolicy?.(policy), drop: policy => next.dropPolicy?.(policy) },
    gateways: { put: gateway => next.putGateway?.(gateway), drop: gateway => next.dropGateway?.(gateway) },
    addresses: { put: record => next.putAddress?.(record), drop: record => next.dropAddress?.(record) },
    identities: { put: identity => next.putIdentity?.(identity), drop: identity => next.dropIdentity?.(identity) },
  }
}
