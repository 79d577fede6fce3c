/** The native engine on a clock that is moved by hand. */

import type { Engine, EngineParts } from '../../proxy/dataplane/engine.ts'
import type { NativeAddon } from '../../proxy/dataplane/native/addon.ts'
import { createNativeEngineWith } from '../../proxy/dataplane/native/engine.ts'
import { pending } from '../../proxy/dataplane/native/rings.ts'
import type { PumpAddon } from '../../proxy/dataplane/native/transport.ts'

/** A clock moved by hand can run ahead of the pump's thread, so each of its ticks waits until the pump has taken the commands. */
export function createPaced({ Pump, tunnels }: PumpAddon, parts: EngineParts): Engine {
  const memories: ArrayBuffer[] = []
  const seen: PumpAddon = {
    ...(tunnels ? { tunnels } : {}),
    Pump: class extends Pump {
      constructor(...given: ConstructorParameters<NativeAddon['Pump']>) {
        super(...given)
        memories.push(this.memory)
      }
    },
  }
  const moment = new Int32Array(new SharedArrayBuffer(4))
  const every = (ms: number, run: () => void) =>
    parts.clock.every(ms, () => {
      run()
      while (memories.some(memory => pending(memory) > 0)) Atomics.wait(moment, 0, 0, 0.1)
    })
  const { now, wall, after } = parts.clock
  const clock = { now: now.bind(parts.clock), wall: wall.bind(parts.clock), after: after.bind(parts.clock), every }
  return createNativeEngineWith(seen, { ...parts, clock })
}
