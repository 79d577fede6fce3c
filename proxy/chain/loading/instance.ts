import type { Fields, Options } from '../../config/fields.ts'
import { messageOf } from '../../model/error.ts'
import type { Json } from '../../model/text/json.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Plugin, PluginModule } from '../../plugin.ts'
import { type Faults, LawBroken, refusePromise } from '../faults.ts'
import { type CounterReading, createHost, type HostParts } from '../host.ts'
import { Unloadable } from './unloadable.ts'

/** A plugin that lives: one module, one set of options, one state. */
export interface LoadedPlugin {
  /** Its own in this chain: `as` of the configuration, else the module's. Refusals, logs and metrics carry it. */
  readonly name: string
  /** `built-in`, or `use` of the configuration. */
  readonly from: string
  /** Its options as the configuration has them, to be compared with what it says later. */
  readonly given: unknown
  readonly module: PluginModule
  readonly options: Options<Fields>
  readonly plugin: Plugin
  readonly counters: () => readonly CounterReading[]
}

/** The hooks in the order in which a flow meets them. */
const hookNames = [
  'admit',
  'candidates',
  'pick',
  'onConnect',
  'onResult',
  'onClose',
  'onService',
  'why',
  'state',
  'close',
] as const satisfies readonly (keyof Plugin)[]

/** Creates an instance with options that have been parsed. Throws {@link Unloadable}. */
export function instantiate(
  module: PluginModule,
  options: Options<Fields>,
  parts: HostParts,
  { name = module.name, from = module.name, given = {} }: { name?: string; from?: string; given?: unknown } = {},
): LoadedPlugin {
  const fail = (what: string, cause?: unknown) => new Unloadable(`create() of ${from} ${what}`, { cause })
  const { host, counters } = createHost(name, parts)

  let made: unknown
  try {
    made = module.create(options, host)
    refusePromise(made)
  } catch (cause) {
    if (cause instanceof LawBroken)
      throw fail('returned a promise; return the plugin at once, and begin slow work in it')
    throw fail(`threw "${messageOf(cause)}"; mend the plugin or its options`, cause)
  }
  if (typeof made !== 'object' || made === null)
    throw fail(`returned ${String(made)}; let it return an object of hooks`)
  for (const hook of hookNames) {
    const value: unknown = (made as Plugin)[hook]
    if (value !== undefined && typeof value !== 'function') throw fail(`returned a "${hook}" that is no function`)
  }
  return { name, from, given, module, options, plugin: made as Plugin, counters }
}

/** One row of the resolved chain. */
export interface ResolvedPlugin {
  readonly name: string
  readonly from: string
  readonly hooks: readonly string[]
  readonly onError: 'refuse' | 'skip'
  /** When its `candidates` decides; absent without that hook. */
  readonly decides?: 'change' | 'flow'
}

export function resolved({ name, from, module, plugin }: LoadedPlugin): ResolvedPlugin {
  const hooks = hookNames.slice(0, hookNames.indexOf('why')).filter(hook => plugin[hook] !== undefined)
  const decides = plugin.candidates ? { decides: module.decides ?? ('flow' as const) } : {}
  return { name, from, hooks, onError: module.onError, ...decides }
}

/** What the plugin says it remembers; undefined when it says nothing or cannot. */
export function stateOf({ name, plugin }: LoadedPlugin, faults: Faults): Json | undefined {
  try {
    const state: unknown = plugin.state?.()
    refusePromise(state)
    // Whatever is not JSON must fail here, and not where status is printed.
    return state === undefined ? undefined : (JSON.parse(JSON.stringify(state)) as Json)
  } catch (thrown) {
    faults.report(name, 'state', thrown, 'status does not show what it remembers')
    return undefined
  }
}

const closeWithinMs = 5000

/** Closes all at once. A plugin that fails or does not end is reported and left behind. */
export async function closeInstances(instances: readonly LoadedPlugin[], faults: Faults, clock: Clock): Promise<void> {
  await Promise.all(
    instances.map(async ({ name, plugin }) => {
      let callOff = () => {}
      const late = new Promise<never>((_, reject) => {
        callOff = clock.after(closeWithinMs, () => reject(new LawBroken(`did not end within ${closeWithinMs} ms`)))
      })
      try {
        await Promise.race([plugin.close?.(), late])
      } catch (thrown) {
        faults.report(name, 'close', thrown, 'what it held may be held still')
      } finally {
        callOff()
      }
    }),
  )
}
