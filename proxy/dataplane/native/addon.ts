/** The addon of `native/`, where it was built. */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BatchSocketClass } from '../../model/batch-socket.ts'
import { MeshError, messageOf } from '../../model/error.ts'

/** One native thread that carries flows; see `native/src/pump.h`. */
export interface NativePump {
  /** Shared with the thread; `native-rings.ts` knows what is in it. */
  readonly memory: ArrayBuffer
  /** 0, or an errno. `ip` is canonical. */
  listenTcp(listener: number, ip: string, port: number, backlog: number): number
  /** A UDP socket; 0, or an errno. */
  listenUdp(frontend: number, ip: string, port: number): number
  /** Wakes the thread, when it sleeps and commands wait. */
  kick(): void
  /** Whether it keeps the process alive; not at first. */
  hold(whether: boolean): void
  /** Ends the thread and all it carries. What it reports is in the ring, and more after each `refill()`. */
  stop(): void
  refill(): void
}

/** Of what the two ends say to each other: `kProtocol` of native/src/ring.h, and grows with it. */
export const protocol = 3

export interface NativeAddon {
  readonly protocol: number
  readonly Pump: new (onEvents: () => void, idleMs: number, halfClosedMs: number) => NativePump
  readonly BatchSocket: BatchSocketClass
}

/** Where `native/build.js` puts it, as seen from the sources and from dist/. */
const usual = ['../../../native/build', '../../../../native/build'].map(place =>
  fileURLToPath(new URL(place, import.meta.url)),
)

const remedy = 'run `npm run build:native`, which needs Linux and a C++17 compiler, or set proxy.engine to streams'

/** Throws a MeshError that says why it cannot be had, and what would do. */
export function loadAddon(folders: readonly string[] = usual): NativeAddon {
  const found = findAddon(folders)
  if ('addon' in found) return found.addon
  throw new MeshError('CONF_FIELD', `proxy.engine: native cannot be had: ${found.why}; ${remedy}`)
}

/** The addon, or what stands against it. */
export function findAddon(folders: readonly string[] = usual): { addon: NativeAddon } | { why: string } {
  const file = folders.map(folder => join(folder, 'starlane.node')).find(file => existsSync(file))
  if (file === undefined) return { why: `it was not built${reasonIn(folders)}` }
  try {
    const addon = createRequire(import.meta.url)(file) as NativeAddon
    if (addon.protocol === protocol) return { addon }
    return { why: `${file} was built from sources of another version` }
  } catch (error) {
    return { why: `${file} cannot be loaded: ${messageOf(error)}` }
  }
}

/** What the build had to say, when there was one. */
function reasonIn(folders: readonly string[]): string {
  const file = folders.map(folder => join(folder, 'reason')).find(file => existsSync(file))
  return file === undefined ? '' : `: ${readFileSync(file, 'utf8')}`
}
