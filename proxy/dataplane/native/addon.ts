/** Finds and loads the addon of `native/`. */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { MeshError, messageOf } from '../../model/error.ts'
import { embeddedModules, loadEmbedded, packagePath } from '../../model/program/package-files.ts'
import type { BatchSocketClass } from '../../model/sockets/batch-socket.ts'
import type { KernelCalls } from '../../model/sockets/kernel.ts'
import type { PassingCalls } from '../../model/sockets/passing.ts'

/** One native thread that carries flows; see `native/src/pump/pump.h`. */
export interface NativePump {
  /** Shared with the thread; `rings.ts` has the layout. */
  readonly memory: ArrayBuffer
  /** 0, or an errno. `ip` is canonical. Of several pumps the first accepts for all. */
  listenTcp(listener: number, ip: string, port: number, backlog: number): number
  /** A UDP socket; 0, or an errno. */
  listenUdp(frontend: number, ip: string, port: number): number
  /** A listening socket of another process. 0, and the descriptor is the pump's; or an errno. */
  adoptTcp(listener: number, descriptor: number): number
  /** A UDP socket of another process. Nothing is read from it before the command `resumeFrontend`. */
  adoptUdp(frontend: number, descriptor: number): number
  /** Wakes the thread: it sleeps, and commands wait. */
  kick(): void
  /** Whether the thread keeps the process alive; at first it does not. */
  hold(alive: boolean): void
  /** Ends the threads of all pumps of the engine, and their flows. The reports are in the rings, and more of them after each `refill()`. */
  stop(): void
  refill(): void
  /** Begins TLS on a connected socket, by a descriptor of its own for it. 0, or an errno. `context`: see {@link TunnelCalls}. */
  openTunnel(id: number, descriptor: number, context: object, streamWindow: number, sessionWindow: number): number
  /** Opens a stream. `fields`: names and values, each ended by a zero. */
  requestStream(tunnel: number, stream: number, fields: string): void
  /** Answers a request of the other end; `last`: without a body. */
  answerStream(stream: number, last: boolean, fields: string): void
  /** Sends a GOAWAY. Without a code streams in progress go on. */
  leaveTunnel(tunnel: number, code: number, text: string): void
  /** What belongs to an event of a tunnel; once. */
  details(id: number): Buffer
  /** Bytes of a tunnel, received and sent; `into` stays as it is where there is no such tunnel. */
  tunnelBytes(id: number, into: Float64Array): void
}

/** What tunnels in the pump need besides it. */
export interface TunnelCalls {
  /** Why this Node can have none; undefined where it can. */
  readonly why?: string
  /** Texts in PEM. Throws what is wrong with them. */
  secureContext(certificates: string, key: string, roots: string, isServer: boolean): object
  /** Two sockets that are connected to each other, or -errno. */
  pair(): readonly [number, number] | number
}

/** The version of what the two sides send each other: `kProtocol` of native/src/pump/ring.h. */
export const protocol = 16

export interface NativeAddon {
  readonly protocol: number
  /** With `first` it is a further pump of the engine whose first one that is; at most 64, and all of them before one listens. */
  readonly Pump: new (
    onEvents: () => void,
    idleMs: number,
    halfClosedMs: number,
    first?: NativePump,
  ) => NativePump
  readonly BatchSocket: BatchSocketClass
  readonly passing: PassingCalls
  readonly tunnels: TunnelCalls
  readonly kernel: KernelCalls
  /**
   * Takes the pages of programs and libraries that came from their files out of this process, and gives the C library's free memory
   * back. Those that are touched again come from the kernel's page cache. Takes some 3 ms, and 40 ms of a process of 1 GiB, on another
   * thread. Resolves with how many bytes of files were resident before.
   */
  releaseProgramPages(): Promise<number>
  /** A string whose characters are these bytes, which are not copied: they must stay as they are until the process ends. */
  textOf(bytes: ArrayBuffer): string
}

/** Where `native/build.js` puts the addon. The single executable carries it, and looks nowhere else. */
const buildFolders = (): string[] => (embeddedModules() ? [] : [packagePath('native/build')])

const remedy = 'run `npm run build:native`, which needs Linux and a C++17 compiler, or set proxy.engine to streams'

/** Throws `MeshError` CONF_FIELD with the reason and the remedy when there is none. */
export function loadAddon(folders: readonly string[] = buildFolders()): NativeAddon {
  const found = findAddon(folders)
  if ('addon' in found) return found.addon
  throw new MeshError('CONF_FIELD', `proxy.engine: native is not available: ${found.why}; ${remedy}`)
}

/** The addon, or why there is none. */
export function findAddon(folders: readonly string[] = buildFolders()): { addon: NativeAddon } | { why: string } {
  const file = folders.map(folder => join(folder, 'starlane.node')).find(file => existsSync(file))
  try {
    const addon = file === undefined ? loadEmbedded('native/build/starlane.node', load) : load(file)
    if (addon === undefined) return { why: `it was not built${reasonIn(folders)}` }
    if (addon.protocol === protocol) return { addon }
    return { why: `${file} was built from sources of another version` }
  } catch (error) {
    return { why: `${file ?? 'the addon of this executable'} cannot be loaded: ${messageOf(error)}` }
  }
}

const load = (file: string) => createRequire(import.meta.url)(file) as NativeAddon

/** Why the build failed, if it was run. */
function reasonIn(folders: readonly string[]): string {
  const file = folders.map(folder => join(folder, 'reason')).find(file => existsSync(file))
  return file === undefined ? '' : `: ${readFileSync(file, 'utf8')}`
}
