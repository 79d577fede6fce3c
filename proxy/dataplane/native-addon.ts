/** The addon of `native/`, where it was built. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { MeshError, messageOf } from '../model/error.ts'

/** One native thread that carries flows; see `native/src/pump.h`. */
export interface NativePump {
  /** Shared with the thread; `native-rings.ts` knows what is in it. */
  readonly memory: ArrayBuffer
  /** 0, or an errno. `ip` is canonical. */
  listen(listener: number, ip: string, port: number, backlog: number): number
  /** A UDP socket; 0, or an errno. */
  openDoor(door: number, ip: string, port: number): number
  /** Wakes the thread, when it sleeps and commands wait. */
  kick(): void
  /** Whether it keeps the process alive; not at first. */
  hold(whether: boolean): void
  /** Ends the thread and all it carries. What it reports is in the ring, and more after each `refill()`. */
  stop(): void
  refill(): void
}

export interface NativeAddon {
  readonly Pump: new (onEvents: () => void, idleMs: number, halfClosedMs: number) => NativePump
}

const remedy = 'run `npm run build:native`, which needs Linux and a C++17 compiler, or set proxy.engine to streams'

/** The same file as seen from the sources and from dist/. */
const usual = ['../../native/build/starlane.node', '../../../native/build/starlane.node'].map(place =>
  fileURLToPath(new URL(place, import.meta.url)),
)

/** Throws a MeshError that says why it cannot be had, and what would do. */
export function loadAddon(places: readonly string[] = usual): NativeAddon {
  const file = places.find(place => existsSync(place))
  if (file === undefined) throw new MeshError('CONF_FIELD', `proxy.engine: the engine native was not built; ${remedy}`)
  try {
    return createRequire(import.meta.url)(file) as NativeAddon
  } catch (error) {
    const why = `${file} cannot be loaded: ${messageOf(error)}`
    throw new MeshError('CONF_FIELD', `proxy.engine: ${why}; ${remedy}`, { cause: error })
  }
}
