/** The native engine with three pumps, as tests and processes of their own create it. */
import type { Engine, EngineParts } from '../../../../proxy/dataplane/engine.ts'
import { createNativeEngine } from '../../../../proxy/dataplane/native/engine.ts'

export function createThreePumps(parts: EngineParts): Engine {
  return createNativeEngine({ ...parts, threads: 3 })
}
