/**
 * The engine whose bytes are moved by a native thread: `native/` accepts, connects and carries; every decision is made here,
 * asked once for each attempt. Everything that is not bytes is the same code as that of the engine streams.
 * docs/engines.md has the picture.
 */
import type { Engine, EngineParts } from '../engine.ts'
import { EngineCore } from '../flow/engine-core.ts'
import { loadAddon, type NativeAddon } from './addon.ts'
import { NativeTransport } from './transport.ts'

/** Throws a `MeshError` with the remedy where the addon was not built or cannot be loaded. */
export function createNativeEngine(parts: EngineParts): Engine {
  return createNativeEngineWith(loadAddon(), parts)
}

/** With an addon from elsewhere, such as one built with a sanitizer. */
export function createNativeEngineWith(addon: Pick<NativeAddon, 'Pump'>, parts: EngineParts): Engine {
  return new EngineCore('native', parts, context => new NativeTransport(context, addon))
}
