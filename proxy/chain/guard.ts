/**
 * Plugins are strangers: whatever a hook does, the flow gets an answer. Each hook is wrapped once, when its plugin is
 * loaded, so that a decision pays for a `try` and nothing else. A hook that fails answers {@link broken}; what that means
 * is the business of the step that asked.
 */
import type { Backend, Backends } from '../model/backend.ts'
import type { Client, Flow, Refusal, Result, Totals } from '../model/flow.ts'
import type { GlobalService } from '../model/service.ts'
import { type Faults, LawBroken, refusePromise } from './faults.ts'
import type { LoadedPlugin } from './loading/instance.ts'

/** In the place of an answer: the hook threw, returned a promise, or answered against the laws. */
export const broken: unique symbol = Symbol('broken')
export type Broken = typeof broken

/** A plugin whose hooks never throw. Those it does not have are undefined. */
export interface Guarded {
  readonly name: string
  /** Its hooks are laws: when one fails, the flow is refused. Otherwise the flow goes on as if the hook were absent. */
  readonly refuses: boolean
  readonly decides: 'change' | 'flow'
  applies(service: GlobalService): boolean
  readonly admit: ((client: Client, service: GlobalService) => Refusal | undefined | Broken) | undefined
  readonly candidates: ((flow: Flow, backends: Backends) => Backends | Broken) | undefined
  readonly pick: ((flow: Flow, backends: Backends) => Backend | undefined | Broken) | undefined
  readonly onConnect: ((flow: Flow, backend: Backend) => void) | undefined
  readonly onResult: ((flow: Flow, backend: Backend, result: Result) => void) | undefined
  readonly onClose: ((flow: Flow, backend: Backend, totals: Totals) => void) | undefined
  readonly onService: ((service: GlobalService, gone: Backends) => void) | undefined
  why(flow: Flow, backend: Backend): string | undefined
}

export function guard({ name, module, options, plugin }: LoadedPlugin, faults: Faults): Guarded {
  const refuses = module.onError === 'refuse'
  const decision = refuses ? 'flows are refused until it is mended' : 'flows go on as if it had no such hook'
  const watch = 'no flow was touched, but the plugin may have missed something'
  const failed = (hook: string) => (thrown: unknown) => faults.report(name, hook, thrown, decision)
  const missed = (hook: string) => (thrown: unknown) => faults.report(name, hook, thrown, watch)

  const applies = asking(
    (service: GlobalService) => module.appliesTo?.(service, options),
    asBoolean,
    failed('appliesTo'),
  )
  const why = asking(plugin.why?.bind(plugin), asText, missed('why'))
  return {
    name,
    refuses,
    decides: module.decides ?? 'flow',
    applies: service => {
      const answer = applies?.(service, undefined)
      return answer === broken ? refuses : (answer ?? true)
    },
    admit: asking(plugin.admit?.bind(plugin), answer => asRefusal(answer, name), failed('admit')),
    candidates: asking(plugin.candidates?.bind(plugin), subsets(), failed('candidates')),
    pick: asking(plugin.pick?.bind(plugin), asMember, failed('pick')),
    onConnect: telling(plugin.onConnect?.bind(plugin), missed('onConnect')),
    onResult: telling(plugin.onResult?.bind(plugin), missed('onResult')),
    onClose: telling(plugin.onClose?.bind(plugin), missed('onClose')),
    onService: telling(plugin.onService?.bind(plugin), missed('onService')),
    why: (flow, backend) => {
      const answer = why?.(flow, backend)
      return answer === broken ? undefined : answer
    },
  }
}

function asking<A, B, R>(
  hook: ((a: A, b: B) => unknown) | undefined,
  check: (answer: unknown, a: A, b: B) => R,
  failed: (thrown: unknown) => void,
): ((a: A, b: B) => R | Broken) | undefined {
  if (!hook) return undefined
  return (a, b) => {
    try {
      return check(hook(a, b), a, b)
    } catch (thrown) {
      failed(thrown)
      return broken
    }
  }
}

/** Of two arguments or three, named: a list of them would be made for every flow. */
function telling<A, B, C>(
  hook: ((a: A, b: B, c: C) => unknown) | undefined,
  failed: (thrown: unknown) => void,
): ((a: A, b: B, c?: C) => void) | undefined {
  if (!hook) return undefined
  return (a, b, c) => {
    try {
      refusePromise(hook(a, b, c as C))
    } catch (thrown) {
      failed(thrown)
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

/** Whatever code a plugin writes, it refuses in its own name. */
function asRefusal(answer: unknown, name: string): Refusal | undefined {
  if (answer === undefined) return undefined
  refusePromise(answer)
  const { code, why } = Object(answer) as Partial<Refusal>
  if (typeof why !== 'string') throw new LawBroken(`returned ${kindOf(answer)}, not a refusal with a why`)
  return code === name ? (answer as Refusal) : { code: name, why }
}

/** What is not in the list is no fault: a plugin may remember a backend that others have taken out since. */
function asMember(answer: unknown, _flow: Flow, backends: Backends): Backend | undefined {
  if (answer === undefined) return undefined
  refusePromise(answer)
  return backends.includes(answer as Backend) ? (answer as Backend) : undefined
}

/**
 * Checks that each answer is a part of the question. An answer seen before for the same question costs one look: a plugin
 * that remembers its lists is checked once for each. Such answers are frozen, since later steps remember by their identity.
 * The lists of flows that have tried something are their own; nobody remembers them.
 */
function subsets(): (answer: unknown, flow: Flow, backends: Backends) => Backends {
  const seen = new WeakMap<Backends, Backends>()
  return (answer, { tried }, backends) => {
    if (answer === backends) return backends
    if (seen.get(answer as Backends) === backends) return answer as Backends
    refusePromise(answer)
    if (!Array.isArray(answer)) throw new LawBroken(`returned ${kindOf(answer)}, not a list of backends`)
    const stranger = strangerIn(answer, backends)
    if (stranger !== -1)
      throw new LawBroken(`returned ${kindOf(answer[stranger])}, which it was not given or gave twice`)
    if (answer.length === backends.length) return backends
    if (tried.length === 0) seen.set(Object.freeze(answer), backends)
    return answer
  }
}

/**
 * Where `part` has something that is not in `whole`, or has it twice; -1 if nowhere. The usual case, a filtered list that
 * kept its order, costs one walk.
 */
function strangerIn(part: readonly unknown[], whole: Backends): number {
  let at = 0
  for (const entry of part) {
    while (at < whole.length && whole[at] !== entry) at++
    if (at === whole.length) return strangerInAnyOrder(part, whole)
    at++
  }
  return -1
}

function strangerInAnyOrder(part: readonly unknown[], whole: Backends): number {
  const left = new Set<unknown>(whole)
  return part.findIndex(entry => !left.delete(entry))
}

function kindOf(answer: unknown): string {
  if (typeof answer !== 'object' || answer === null) return String(answer).slice(0, 80)
  const { key } = answer as { key?: unknown }
  return typeof key === 'string' ? `the backend ${key}` : Array.isArray(answer) ? 'a list' : 'an object'
}
