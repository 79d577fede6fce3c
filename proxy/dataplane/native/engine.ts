/**
 * The engine whose bytes are moved by native threads: `native/` accepts, connects and carries, and asks here once for each
 * attempt. All decisions are the code that it shares with the engine streams. See docs/engines.md.
 */
import type { Engine, EngineParts } from '../engine.ts'
import { EngineCore } from '../flow/engine-core.ts'
import { loadAddon } from './addon.ts'
import { NativeTransport, type PumpAddon } from './transport.ts'

/** Throws `MeshError` CONF_FIELD with the remedy where the addon was not built or cannot be loaded. */
export function createNativeEngine(parts: EngineParts): Engine {
  return createNativeEngineWith(loadAddon(), parts)
}

/** With an addon from elsewhere, such as one built with a sanitizer. */
export function createNativeEngineWith(addon: PumpAddon, parts: EngineParts): Engine {
  return new EngineCore('native', parts, context => new NativeTransport(context, addon, parts.threads ?? 1))
}
