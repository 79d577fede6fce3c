/** Creates the engine that a configuration asks for. */
import type { BatchSocketClass } from '../model/batch-socket.ts'
import type { Engine, EngineParts } from './engine.ts'
import { findAddon, loadAddon, type NativeAddon } from './native/addon.ts'
import { createNativeEngineWith } from './native/engine.ts'
import { createStreamsEngine } from './streams/engine.ts'

export interface Chosen {
  readonly engine: Engine
  /** Why `auto` has not taken `native`; undefined when it has, or when the engine was named. */
  readonly whyNotNative?: string
  /** The addon's class of UDP sockets, where the engine is native. */
  readonly BatchSocket?: BatchSocketClass
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
  if (kind === 'streams') return { engine: createStreamsEngine(parts) }
  if (kind === 'native') return native(loadAddon(), parts)
  const found = env.STARLANE_NATIVE === '0' ? { why: 'STARLANE_NATIVE=0 is set' } : find()
  if ('addon' in found) return native(found.addon, parts)
  return { engine: createStreamsEngine(parts), whyNotNative: found.why }
}

function native(addon: NativeAddon, parts: EngineParts): Chosen {
  return { engine: createNativeEngineWith(addon, parts), BatchSocket: addon.BatchSocket }
}
