import t from 'tap'
import type { EngineParts } from '../../../proxy/dataplane/engine.ts'
import { createNativeEngineWith } from '../../../proxy/dataplane/native.ts'
import { loadAddon, type NativeAddon } from '../../../proxy/dataplane/native-addon.ts'
import { pending } from '../../../proxy/dataplane/native-rings.ts'
import { engineConformance } from '../../conformance/engine.ts'

const addon = built()
if (addon) {
  engineConformance(t, {
    create: parts => createPaced(addon, parts),
    source: new URL('../../../proxy/dataplane/native.ts', import.meta.url),
    export: 'createNativeEngine',
  })
} else t.pass('the addon was not built here: npm run build:native')

function built(): NativeAddon | undefined {
  try {
    return loadAddon()
  } catch {
    return undefined
  }
}

/** A clock that is moved by hand runs away from a thread: each of its ticks waits here until the pump has heard of it. */
function createPaced({ Pump }: NativeAddon, parts: EngineParts) {
  let memory: ArrayBuffer | undefined
  const seen: NativeAddon = {
    Pump: class extends Pump {
      constructor(...given: ConstructorParameters<NativeAddon['Pump']>) {
        super(...given)
        memory = this.memory
      }
    },
  }
  const moment = new Int32Array(new SharedArrayBuffer(4))
  const every = (ms: number, run: () => void) =>
    parts.clock.every(ms, () => {
      run()
      while (memory && pending(memory) > 0) Atomics.wait(moment, 0, 0, 0.1)
    })
  const { now, wall, after } = parts.clock
  const clock = { now: now.bind(parts.clock), wall: wall.bind(parts.clock), after: after.bind(parts.clock), every }
  return createNativeEngineWith(seen, { ...parts, clock })
}
