/**
 * Wraps the hooks of plugins, whose code is not trusted: a flow gets an answer whatever a hook does. Each hook is wrapped
 * once, when its plugin is loaded, so that a call costs one `try`. A hook that fails returns {@link broken}; the caller
 * decides what that means.
 */
import type { Backend, Backends } from '../model/backend.ts'
import type { Client, Flow, Refusal, Result, Totals } from '../model/flow.ts'
import type { GlobalService } from '../model/service.ts'
import type { BackendNote } from '../model/views.ts'
import type { Asker, Finding } from '../plugin.ts'
import { type Faults, LawBroken, refusePromise } from './faults.ts'
import type { LoadedPlugin } from './loading/instance.ts'
import type { SlowHooks } from './slow-hooks.ts'

/** The result of a hook that threw, returned a promise, or broke a law of the plugin API. */
export const broken: unique symbol = Symbol('broken')
export type Broken = typeof broken

/** A plugin whose hooks never throw. Those it does not have are undefined. */
export interface Guarded {
  readonly name: string
  /** True if flows are refused when a deciding hook fails. Otherwise they continue as if it had no such hook. */
  readonly refuses: boolean
  readonly decides: 'change' | 'flow'
  applies(service: GlobalService): boolean
  readonly admit: ((client: Client, service: GlobalService, asker: Asker) => Refusal | undefined | Broken) | undefined
  readonly candidates: ((flow: Flow, backends: Backends, _: undefined) => Backends | Broken) | undefined
  readonly pick: ((flow: Flow, backends: Backends, _: undefined) => Backend | undefined | Broken) | undefined
  readonly onConnect: ((flow: Flow, backend: Backend) => void) | undefined
  readonly onResult: ((flow: Flow, backend: Backend, result: Result) => void) | undefined
  readonly onClose: ((flow: Flow, backend: Backend, totals: Totals) => void) | undefined
  readonly onRefused: ((flow: Flow, refusal: Refusal) => void) | undefined
  readonly onService: ((service: GlobalService, gone: Backends) => void) | undefined
  why(flow: Flow, backend: Backend): string | undefined
  note(service: GlobalService, backend: Backend): BackendNote | undefined
  findings(): readonly Finding[]
}

export function guard({ name, module, options, plugin }: LoadedPlugin, faults: Faults, slow: SlowHooks): Guarded {
  const refuses = module.onError === 'refuse'
  const decision = refuses ? 'flows are refused until it is fixed' : 'flows continue without this hook'
  const watch = 'no flow was affected, but the plugin may have missed an event'
  const failed = (hook: string): Watch => ({
    slow,
    ...{ name, hook },
    failed: thrown => faults.report(name, hook, thrown, decision),
  })
  const missed = (hook: string): Watch => ({
    slow,
    ...{ name, hook },
    failed: thrown => faults.report(name, hook, thrown, watch),
  })

  const applies = asking(
    (service: GlobalService, _: undefined, __: undefined) => module.appliesTo?.(service, options),
    asBoolean,
    failed('appliesTo'),
  )
  const why = asking(plugin.why?.bind(plugin), asText, missed('why'))
  const note = asking(plugin.note?.bind(plugin), asNote, missed('note'))
  const findings = asking(plugin.findings?.bind(plugin), asFindings, missed('findings'))
  return {
    name,
    refuses,
    decides: module.decides ?? 'flow',
    applies: service => {
      const answer = applies?.(service, undefined, undefined)
      return answer === broken ? refuses : (answer ?? true)
    },
    admit: asking(plugin.admit?.bind(plugin), answer => asRefusal(answer, name), failed('admit')),
    candidates: asking(plugin.candidates?.bind(plugin), subsets(), failed('candidates')),
    pick: asking(plugin.pick?.bind(plugin), asMember, failed('pick')),
    onConnect: telling(plugin.onConnect?.bind(plugin), missed('onConnect')),
    onResult: telling(plugin.onResult?.bind(plugin), missed('onResult')),
    onClose: telling(plugin.onClose?.bind(plugin), missed('onClose')),
    onRefused: telling(plugin.onRefused?.bind(plugin), missed('onRefused')),
    onService: telling(plugin.onService?.bind(plugin), missed('onService')),
    why: (flow, backend) => {
      const answer = why?.(flow, backend, undefined)
      return answer === broken ? undefined : answer
    },
    note: (service, backend) => {
      const answer = note?.(service, backend, undefined)
      return answer === broken ? undefined : answer
    },
    findings: () => {
      const answer = findings?.(undefined, undefined, undefined)
      return answer === broken || answer === undefined ? [] : answer
    },
  }
}

/** What is done about a hook that fails, or is slow. */
interface Watch {
  readonly name: string
  readonly hook: string
  readonly slow: SlowHooks
  readonly failed: (thrown: unknown) => void
}

function asking<A, B, C, R>(
  hook: ((a: A, b: B, c: C) => unknown) | undefined,
  check: (answer: unknown, a: A, b: B) => R,
  watch: Watch,
): ((a: A, b: B, c: C) => R | Broken) | undefined {
  if (!hook) return undefined
  const { slow } = watch
  return (a, b, c) => {
    try {
      return check(slow.isTiming ? slow.timed(watch, hook, a, b, c) : hook(a, b, c), a, b)
    } catch (thrown) {
      watch.failed(thrown)
      return broken
    }
  }
}

/** Takes named arguments, not `...args`, which would allocate an array per call. */
function telling<A, B, C>(
  hook: ((a: A, b: B, c: C) => unknown) | undefined,
  watch: Watch,
): ((a: A, b: B, c?: C) => void) | undefined {
  if (!hook) return undefined
  const { slow } = watch
  return (a, b, c) => {
    try {
      refusePromise(slow.isTiming ? slow.timed(watch, hook, a, b, c as C) : hook(a, b, c as C))
    } catch (thrown) {
      watch.failed(thrown)
    }
  }
}

function asBoolean(answer: unknown): boolean | undefined {
  refusePromise(answer)
  if (answer !== undefined && typeof answer !== 'boolean')
    throw new LawBroken(`returned ${kindOf(answer)}, not true or false`)
  return answer
}

function asText(answer: unknown): string | undefined {
  refusePromise(answer)
  return typeof answer === 'string' ? answer : undefined
}

/** A copy with the two fields alone, so that it is JSON whatever the plugin returns. */
function asNote(answer: unknown): BackendNote | undefined {
  if (answer === undefined) return undefined
  refusePromise(answer)
  const { state, detail } = Object(answer) as Partial<BackendNote>
  if (typeof state !== 'string') throw new LawBroken(`returned ${kindOf(answer)}, not a note with a string "state"`)
  return typeof detail === 'string' ? { state, detail } : { state }
}

const maxFindings = 1000

/** Copies with the two fields alone, and no more than are worth reading. */
function asFindings(answer: unknown): readonly Finding[] {
  refusePromise(answer)
  if (answer === undefined) return []
  if (!Array.isArray(answer)) throw new LawBroken(`returned ${kindOf(answer)}, not a list of findings`)
  return answer.slice(0, maxFindings).map((each: unknown) => {
    const { where, message } = Object(each) as Partial<Finding>
    if (typeof where !== 'string' || typeof message !== 'string')
      throw new LawBroken(`returned ${kindOf(each)}, not a finding with "where" and "message"`)
    return { where, message }
  })
}

/** A plugin always refuses under its own name, whatever code it returns. */
function asRefusal(answer: unknown, name: string): Refusal | undefined {
  if (answer === undefined) return undefined
  refusePromise(answer)
  const { code, why } = Object(answer) as Partial<Refusal>
  if (typeof why !== 'string') throw new LawBroken(`returned ${kindOf(answer)}, not a refusal with a string "why"`)
  return code === name ? (answer as Refusal) : { code: name, why }
}

/** A backend outside the list is not a fault: a plugin may remember one that other plugins have removed since. */
function asMember(answer: unknown, _flow: Flow, backends: Backends): Backend | undefined {
  if (answer === undefined) return undefined
  refusePromise(answer)
  return backends.includes(answer as Backend) ? (answer as Backend) : undefined
}

/**
 * Checks that each answer is a subset of the given list. An answer that was checked before for the same list costs one
 * lookup, so that a plugin that memoizes its lists is checked once for each. Checked answers are frozen, since later steps
 * memoize by their identity. Answers for flows with `tried` backends are not memoized.
 */
function subsets(): (answer: unknown, flow: Flow, backends: Backends) => Backends {
  const seen = new WeakMap<Backends, Backends>()
  return (answer, { tried }, backends) => {
    if (answer === backends) return backends
    if (seen.get(answer as Backends) === backends) return answer as Backends
    refusePromise(answer)
    if (!Array.isArray(answer)) throw new LawBroken(`returned ${kindOf(answer)}, not a list of backends`)
    const foreign = foreignIndex(answer, backends)
    if (foreign !== -1)
      throw new LawBroken(`returned ${kindOf(answer[foreign])}, which it was not given, or returned twice`)
    if (answer.length === backends.length) return backends
    if (tried.length === 0) seen.set(Object.freeze(answer), backends)
    return answer
  }
}

/**
 * The index of the first entry of `part` that is not in `whole`, or is in `part` twice; -1 if there is none. A list that
 * was filtered without changing its order, the usual case, takes one pass.
 */
function foreignIndex(part: readonly unknown[], whole: Backends): number {
  let at = 0
  for (const entry of part) {
    while (at < whole.length && whole[at] !== entry) at++
    if (at === whole.length) return foreignIndexInAnyOrder(part, whole)
    at++
  }
  return -1
}

function foreignIndexInAnyOrder(part: readonly unknown[], whole: Backends): number {
  const left = new Set<unknown>(whole)
  return part.findIndex(entry => !left.delete(entry))
}

function kindOf(answer: unknown): string {
  if (typeof answer !== 'object' || answer === null) return String(answer).slice(0, 80)
  const { key } = answer as { key?: unknown }
  return typeof key === 'string' ? `the backend ${key}` : Array.isArray(answer) ? 'a list' : 'an object'
}
