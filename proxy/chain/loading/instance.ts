/** One instance of a plugin: created from its module and options, shown in status, closed. */
import type { Fields, Options } from '../../config/fields.ts'
import { messageOf } from '../../model/error.ts'
import type { PluginCounter } from '../../model/stats/plugin.ts'
import type { Json } from '../../model/text/json.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { PluginView } from '../../model/views.ts'
import type { Plugin, PluginModule } from '../../plugin.ts'
import { type Faults, LawBroken, refusePromise } from '../faults.ts'
import { createHost, type HostParts } from '../host.ts'
import { PluginLoadError } from './error.ts'

/** An instance of a plugin: one module, one set of options, one state. */
export interface LoadedPlugin {
  /** Unique in the chain: `as` of the configuration, or the name of the module. Used in refusals, logs and metrics. */
  readonly name: string
  /** `built-in`, or `use` of the configuration. */
  readonly from: string
  /** Its options as written in the configuration; compared on reload. Replaced with `options` where they change in place. */
  given: unknown
  readonly module: PluginModule
  readonly options: Options<Fields>
  readonly plugin: Plugin
  readonly counters: () => readonly PluginCounter[]
  /** Whether it needs Pods and policies. */
  readonly usesWorkloads: boolean
}

/** The hooks, in the order in which a flow passes them. */
const hookNames = [
  'admit',
  'candidates',
  'pick',
  'onConnect',
  'onResult',
  'onClose',
  'onRefused',
  'onService',
  'why',
  'note',
  'findings',
  'state',
  'save',
  'restore',
  'onOptions',
  'close',
] as const satisfies readonly (keyof Plugin)[]

/** Creates an instance with parsed options. Throws {@link PluginLoadError}. */
export function instantiate(
  module: PluginModule,
  options: Options<Fields>,
  parts: HostParts,
  { name = module.name, from = module.name, given = {} }: { name?: string; from?: string; given?: unknown } = {},
): LoadedPlugin {
  const fail = (what: string, cause?: unknown) => new PluginLoadError(`create() of ${from} ${what}`, { cause })
  const { host, counters, usesWorkloads } = createHost(name, parts)

  let made: unknown
  try {
    made = module.create(options, host)
    refusePromise(made)
  } catch (cause) {
    if (cause instanceof LawBroken)
      throw fail('returned a promise; return the plugin at once, and start slow work from it')
    throw fail(`threw "${messageOf(cause)}"; fix the plugin or its options`, cause)
  }
  if (typeof made !== 'object' || made === null) throw fail(`returned ${String(made)}; return an object of hooks`)
  for (const hook of hookNames) {
    const value: unknown = (made as Plugin)[hook]
    if (value !== undefined && typeof value !== 'function') throw fail(`returned a "${hook}" that is not a function`)
  }
  return { name, from, given, module, options, plugin: made as Plugin, counters, usesWorkloads: usesWorkloads() }
}

/** Sets other options in the object that the instance has, and tells it. */
export function setOptions(loaded: LoadedPlugin, options: Options<Fields>, given: unknown, faults: Faults): void {
  loaded.given = given
  const own = loaded.options as Record<string, unknown>
  for (const key of Object.keys(own)) delete own[key]
  Object.assign(own, options)
  try {
    refusePromise(loaded.plugin.onOptions?.() as unknown)
  } catch (thrown) {
    faults.report(loaded.name, 'onOptions', thrown, 'it may still go by its old options')
  }
}

/** One row of the resolved chain. */
export interface ResolvedPlugin extends Omit<PluginView, 'state'> {
  /** `decides` of the module; absent without a `candidates` hook. */
  readonly decides?: 'change' | 'flow'
}

export function resolved({ name, from, module, plugin }: LoadedPlugin): ResolvedPlugin {
  const hooks = hookNames.slice(0, hookNames.indexOf('why')).filter(hook => plugin[hook] !== undefined)
  const decides = plugin.candidates ? { decides: module.decides ?? ('flow' as const) } : {}
  return { name, from, hooks, onError: module.onError, ...decides }
}

/** The result of `state()`; undefined without that hook, or when it fails. */
export function stateOf({ name, plugin }: LoadedPlugin, faults: Faults): Json | undefined {
  try {
    const state: unknown = plugin.state?.()
    refusePromise(state)
    // A value that is not JSON must fail here, not where status is printed.
    return state === undefined ? undefined : (JSON.parse(JSON.stringify(state)) as Json)
  } catch (thrown) {
    faults.report(name, 'state', thrown, 'status does not show its state')
    return undefined
  }
}

/** The result of `save()`; undefined without that hook, or when it fails. */
export function savedBy({ name, plugin }: LoadedPlugin, faults: Faults): Json | undefined {
  try {
    const saved: unknown = plugin.save?.()
    refusePromise(saved)
    return saved === undefined ? undefined : (JSON.parse(JSON.stringify(saved)) as Json)
  } catch (thrown) {
    faults.report(name, 'save', thrown, 'its successor begins without')
    return undefined
  }
}

export function restoreIn({ name, plugin }: LoadedPlugin, saved: Json, faults: Faults): void {
  try {
    refusePromise(plugin.restore?.(saved))
  } catch (thrown) {
    faults.report(name, 'restore', thrown, 'it begins without what its predecessor knew')
  }
}

const closeWithinMs = 5000

/** Closes all in parallel. A plugin that fails or takes too long is reported, and not waited for. */
export async function closeInstances(instances: readonly LoadedPlugin[], faults: Faults, clock: Clock): Promise<void> {
  await Promise.all(
    instances.map(async ({ name, plugin }) => {
      let callOff = () => {}
      const late = new Promise<never>((_, reject) => {
        callOff = clock.after(closeWithinMs, () => reject(new LawBroken(`did not finish within ${closeWithinMs} ms`)))
      })
      try {
        await Promise.race([plugin.close?.(), late])
      } catch (thrown) {
        faults.report(name, 'close', thrown, 'it may still hold resources')
      } finally {
        callOff()
      }
    }),
  )
}
