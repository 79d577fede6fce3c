/** Creates the engine that a configuration asks for. */
import type { BatchSocketClass } from '../model/sockets/batch-socket.ts'
import type { KernelCalls } from '../model/sockets/kernel.ts'
import type { PassingCalls } from '../model/sockets/passing.ts'
import type { ServerCarrier } from '../model/tunnel/carrier.ts'
import type { Engine, EngineParts } from './engine.ts'
import { findAddon, loadAddon, type NativeAddon } from './native/addon.ts'
import { createNativeEngineWith } from './native/engine.ts'
import { createServerCarrier } from './native/serving/sessions.ts'
import { createStreamsEngine } from './streams/engine.ts'

export interface Chosen {
  readonly engine: Engine
  /** What passing sockets needs, where the addon loads, whichever the engine. */
  readonly calls?: PassingCalls
  /** What steering by the kernel needs, where the addon loads. */
  readonly kernel?: KernelCalls
  /** Gives back what only the start needed, where the addon loads. */
  readonly releaseProgramPages?: () => Promise<number>
  /** Why `auto` has not taken `native`; undefined when it has, or when the engine was named. */
  readonly whyNotNative?: string
  /** The addon's class of UDP sockets, where the engine is native. */
  readonly BatchSocket?: BatchSocketClass
  /** Starts a pump for the sessions of a gateway, where the engine is native and Node has what that needs. */
  readonly serverCarrier?: () => ServerCarrier | undefined
}

/**
 * `auto` takes `native` where the addon was built and loads, unless `env` has STARLANE_NATIVE=0; `find` looks for the addon.
 * Throws `MeshError` CONF_FIELD when `native` is named and not available.
 */
export function createEngine(
  kind: 'auto' | 'streams' | 'native',
  parts: EngineParts,
  env: Readonly<Record<string, string | undefined>>,
  find = findAddon,
): Chosen {
  if (kind === 'native') return native(loadAddon(), parts)
  const found = find()
  if (kind === 'streams') return streams(parts, found)
  if (env.STARLANE_NATIVE === '0') return { ...streams(parts, found), whyNotNative: 'STARLANE_NATIVE=0 is set' }
  return 'addon' in found ? native(found.addon, parts) : { ...streams(parts, found), whyNotNative: found.why }
}

function native(addon: NativeAddon, parts: EngineParts): Chosen {
  const { passing: calls, BatchSocket, kernel, releaseProgramPages } = addon
  return {
    engine: createNativeEngineWith(addon, { ...parts, calls }),
    serverCarrier: () => createServerCarrier(addon),
    ...{ BatchSocket, calls, kernel, releaseProgramPages },
  }
}

function streams(parts: EngineParts, found: { addon: NativeAddon } | { why: string }): Chosen {
  if (!('addon' in found)) return { engine: createStreamsEngine(parts) }
  const { passing: calls, kernel, releaseProgramPages } = found.addon
  return { engine: createStreamsEngine({ ...parts, calls }), calls, kernel, releaseProgramPages }
}
