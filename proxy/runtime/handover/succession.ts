/** Taking over from a process that runs with the same configuration, and handing over to one: what the runtime has, on the wire. */

import { createHash } from 'node:crypto'
import { closeSync } from 'node:fs'
import { join } from 'node:path'
import type { Chain } from '../../chain/chain.ts'
import { listenFds } from '../../handover/listen-fds.ts'
import { type Hello, socketName } from '../../handover/messages.ts'
import { HandoverServer } from '../../handover/server.ts'
import { Predecessor } from '../../handover/successor.ts'
import type { HealthMonitor, KnownHealth } from '../../health/monitor.ts'
import type { Mesh } from '../../mesh/mesh.ts'
import { MeshError, messageOf, type Problem } from '../../model/error.ts'
import { Inherited, type PassedSocket, type PassingCalls } from '../../model/sockets/passing.ts'
import type { Json } from '../../model/text/json.ts'
import type { StateStore } from '../../state/state-store.ts'
import type { RuntimeContext } from '../context.ts'

/** The parts that give something or get something. */
export interface SuccessionParts extends RuntimeContext {
  readonly version: string
  readonly cluster: string
  /** The absolute path of the configuration, and its `state`. */
  readonly file: string
  readonly folder: string | undefined
  readonly calls: PassingCalls | undefined
  readonly mesh: Mesh
  readonly store: StateStore
  readonly health: HealthMonitor
  readonly chain: Chain
  /** Why nothing can be handed over now. */
  readonly obstacle: () => string | undefined
  readonly hasRules: () => boolean
  /** Stops reading from all sockets. */
  readonly pass: () => Promise<readonly PassedSocket[]>
  readonly takeBack: (inherited: Inherited) => Promise<void>
  readonly handedOver: (to: Hello) => void
  /** This process serves in the place of its predecessor, which does not end before this has returned. */
  readonly tookOver: () => void
}

/** What a successor has got. */
export interface Heritage {
  readonly inherited: Inherited
  /** What the predecessor leaves in place; undefined without one. */
  readonly succeeds: { readonly rules: boolean } | undefined
}

/** What goes along beside the sockets. */
interface Legacy {
  readonly health: readonly KnownHealth[]
  readonly plugins: Readonly<Record<string, Json>>
  readonly rules: boolean
}

/** How long the sources of a successor may take before it goes on with what its predecessor knew. */
const sourcesMs = 5000
const lookMs = 50
/** How long a process that is to stop waits for the successor that is taking over from it: for its sources, and until it serves. */
const underWayMs = 15_000
/** Of the path of a unix socket (unix(7)). */
const longestPath = 107

export class Succession {
  readonly #parts: SuccessionParts
  readonly #path: string | undefined
  #predecessor: Predecessor | undefined
  #server: HandoverServer | undefined
  #failure: MeshError | undefined

  constructor(parts: SuccessionParts) {
    this.#parts = parts
    this.#path = placeOf(parts)
  }

  /** Whether a predecessor was found. */
  get succeeds(): boolean {
    return this.#predecessor !== undefined
  }

  problems(): Problem[] {
    const where = this.#path ?? 'state'
    return this.#failure ? [{ code: this.#failure.code, where, message: this.#failure.message }] : []
  }

  /** Looks for a predecessor, and learns what it knows. Rejects when it refuses. */
  async begin(): Promise<void> {
    const { calls, version, cluster, mesh, store, log } = this.#parts
    if (!calls || this.#path === undefined || this.#path.length > longestPath) return
    this.#predecessor = await Predecessor.find(this.#path, calls, { version, cluster })
    if (!this.#predecessor) return
    const { hello } = this.#predecessor
    log.info('handover.found', { pid: hello.pid, version: hello.version })
    const { addresses, memories } = await this.#predecessor.knowledge()
    mesh.reserve(Object.entries(addresses))
    for (const { cluster, source, since, lines } of memories) {
      try {
        store.give(cluster, source, since, lines)
      } catch (error) {
        log.warn('handover.memory-refused', { cluster, why: messageOf(error) })
      }
    }
  }

  /** The sockets that this process starts with: a predecessor's, or those of the service manager. */
  async heritage(): Promise<Heritage> {
    const { env, health, chain } = this.#parts
    if (!this.#predecessor) return { inherited: new Inherited(namedAlike(listenFds(env))), succeeds: undefined }
    await this.#sourcesAnswer()
    const { sockets, state } = await this.#predecessor.take()
    const { health: known = [], plugins = {}, rules = false } = state as unknown as Partial<Legacy>
    health.restore(known)
    chain.restore(plugins)
    return { inherited: new Inherited(sockets), succeeds: { rules } }
  }

  /** This process serves: its predecessor drains, and a successor may come. What nobody wanted is closed. */
  async complete({ inherited }: Heritage): Promise<void> {
    const passed = this.#path === undefined ? undefined : inherited.take(socketName, { address: this.#path, port: 0 })
    closeAll(inherited.left)
    await this.#predecessor?.serving(this.#parts.tookOver)
    this.#predecessor = undefined
    await this.#listen(passed)
  }

  /** Resolves when no handover to a successor is under way. */
  async settled(): Promise<void> {
    await this.#server?.settled(underWayMs)
  }

  /** As {@link settled}; no further one begins. */
  async finish(): Promise<void> {
    await this.#server?.finish(underWayMs)
  }

  /** It has failed before it could serve: the predecessor goes on. */
  abandon(): void {
    this.#predecessor?.abandon()
  }

  /** No successor can come any more. */
  async close(): Promise<void> {
    this.abandon()
    await this.#server?.close()
  }

  async #sourcesAnswer(): Promise<void> {
    const { clock, mesh } = this.#parts
    const end = clock.now() + sourcesMs
    while (mesh.unsyncedClusters().length > 0 && clock.now() < end) {
      await new Promise<void>(resolve => void clock.after(lookMs, resolve))
    }
  }

  async #listen(passed?: PassedSocket): Promise<void> {
    const { calls, log } = this.#parts
    const path = this.#path
    if (!calls || path === undefined) return
    try {
      if (path.length > longestPath) throw new Error(`the path is longer than ${longestPath} bytes`)
      this.#server = new HandoverServer({ path, calls, estate: this.#estate(), log })
      await this.#server.start(passed)
    } catch (error) {
      this.#failure = new MeshError('STATE', `no successor can take over (${messageOf(error)}); a restart cuts flows`)
      log.warn('handover.unavailable', { path, why: messageOf(error) })
    }
  }

  #estate() {
    const { version, cluster, mesh, store, health, chain, pass, takeBack, obstacle, hasRules, handedOver } = this.#parts
    return {
      version,
      cluster,
      addresses: () => Object.fromEntries(mesh.virtualAddresses),
      memories: () => store.known(),
      obstacle,
      pass: async () => {
        store.setSaving(false)
        const rules = hasRules()
        const sockets = await pass()
        const legacy: Legacy = { health: health.save(), plugins: chain.save(), rules }
        return { sockets, state: legacy as unknown as Json }
      },
      takeBack: async (sockets: readonly PassedSocket[]) => {
        store.setSaving(true)
        await takeBack(new Inherited(sockets))
      },
      handedOver,
    }
  }
}

/** Closes these sockets here; another process may have them too. */
export function closeAll(sockets: readonly PassedSocket[]): void {
  const descriptors = sockets.flatMap(({ descriptor, sessions }) => [
    descriptor,
    ...sessions.flatMap(session => session.descriptor ?? []),
  ])
  for (const descriptor of new Set(descriptors)) closeSync(descriptor)
}

/** In the state folder, else in the user's runtime folder (XDG); elsewhere nothing is handed over. */
function placeOf({ folder, file, env }: SuccessionParts): string | undefined {
  if (folder !== undefined) return join(folder, 'handover.sock')
  if (!env.XDG_RUNTIME_DIR) return undefined
  const name = createHash('sha256').update(file).digest('hex').slice(0, 16)
  return join(env.XDG_RUNTIME_DIR, 'starlane', `${name}.sock`)
}

/** The service manager tells no names: a socket goes to whoever wants its address. */
function namedAlike(sockets: readonly PassedSocket[]): PassedSocket[] {
  return sockets.flatMap(socket => {
    const protocol = socket.name.slice(socket.name.lastIndexOf('/'))
    return [`dns${protocol}`, `admin${protocol}`, `gateway${protocol}`, socket.name].map(name => ({ ...socket, name }))
  })
}
